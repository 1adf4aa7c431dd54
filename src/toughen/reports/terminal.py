"""An evaluation as a table for the terminal; it says in short what the report says."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from toughen.evaluation.checks.doubts import reasons
from toughen.reports.text import attack_title, bounds, duration, percent, threat_short


def show_result(result: Mapping[str, Any], console: Console) -> None:
    """Print an evaluation: accuracy, 95 % interval, images and time of each attack, then what to be wary of.

    An incomplete one says so in its heading and names the attacks that did not run. Where a self-check failed,
    "gradient masking suspected" stands below the robust accuracy, and the check below the table.

    Args:
        result: what `result.json` holds.
        console: where it is printed.
    """
    table = table_of(("attack", "accuracy", "95 % interval", "correct", "time"), text_columns=1)
    for attack, figure in result["figures"].items():
        seconds = result["seconds"].get(attack)
        table.add_row(*_figure(attack_title(attack), figure), "" if seconds is None else duration(seconds))
    planned = result.get("planned", {})
    for attack in planned.get("attacks", []):
        if attack not in result["figures"]:
            table.add_row(Text(attack_title(attack)), "not run", "", "", "")
    table.add_section()
    table.add_row(*_figure("all together", result["robust_accuracy"]), style="bold")
    failed = reasons(result)
    if failed:
        table.add_row(Text("gradient masking suspected", style="bold red"))
    data = result["data"]
    console.print(
        Text(f"{data['name']} ({data['split']}), {threat_short(result['threat'])}, budget {result['budget']}")
    )
    if not result.get("complete", True):
        images = f"{result['robust_accuracy']['n']:,} of {planned['n']:,} planned images"
        console.print(Text(f"INCOMPLETE: {images}", style="bold yellow"))
    console.print(table)
    for check in failed:
        said = f"failed check: {check['title']}: {check.get('message', '')}"
        console.print(Text(said, style="bold red"))
    for warning in result["warnings"]:
        console.print(Text(f"warning: {warning}", style="yellow"))


def table_of(columns: Sequence[str], text_columns: int) -> Table:
    """An empty table: the first columns hold words, the others figures."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for place, name in enumerate(columns):
        words = place < text_columns
        table.add_column(name, justify="left" if words else "right", no_wrap=not words)
    return table


def _figure(title: str, figure: Mapping[str, Any]) -> tuple[Text, str, str, str]:
    return (
        Text(title),
        percent(figure["accuracy"]),
        bounds(figure["interval"]),
        f"{figure['held']}/{figure['n']}",
    )
