"""Results as tables for the terminal; they say in short what the pages say."""

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from toughen.reports.comparison import Comparison
from toughen.reports.text import attack_title, bounds, duration, p_value, percent, threat_short


def show_result(result: Mapping[str, Any], console: Console) -> None:
    """Print an evaluation: accuracy, 95 % interval, images and time of each attack, then what to be wary of.

    An incomplete one says so in its heading and names the attacks that did not run.

    Args:
        result: what `result.json` holds.
        console: where it is printed.
    """
    table = _table(("attack", "accuracy", "95 % interval", "correct", "time"), text_columns=1)
    for attack, figure in result["figures"].items():
        seconds = result["seconds"].get(attack)
        table.add_row(*_figure(attack_title(attack), figure), "" if seconds is None else duration(seconds))
    planned = result.get("planned", {})
    for attack in planned.get("attacks", []):
        if attack not in result["figures"]:
            table.add_row(Text(attack_title(attack)), "not run", "", "", "")
    table.add_section()
    table.add_row(*_figure("all together", result["robust_accuracy"]), style="bold")
    data = result["data"]
    console.print(
        Text(f"{data['name']} ({data['split']}), {threat_short(result['threat'])}, budget {result['budget']}")
    )
    if not result.get("complete", True):
        images = f"{result['robust_accuracy']['n']:,} of {planned['n']:,} planned images"
        console.print(Text(f"INCOMPLETE: {images}", style="bold yellow"))
    console.print(table)
    for warning in result["warnings"]:
        console.print(Text(f"warning: {warning}", style="yellow"))


def show_comparison(comparison: Comparison, console: Console) -> None:
    """Print the ranking, the paired tests against the best, and the runs that cannot be compared."""
    table = _table(("", "run", "method", "clean", "robust", "95 %", "diff", "p"), text_columns=3)
    for run in comparison.ranked:
        test = run.paired
        table.add_row(
            str(run.rank),
            Text(run.name, overflow="fold"),
            Text(run.method),
            percent(run.clean["accuracy"]),
            percent(run.robust["accuracy"]),
            "-".join(f"{100 * bound:.1f}" for bound in run.robust["interval"]),
            "" if test is None else f"{100 * test.difference:+.1f}",
            "" if test is None else p_value(test.p_holm),
            style="bold" if run.rank == 1 else "",
        )
    console.print(Text(comparison.protocol))
    console.print(table)
    if len(comparison.ranked) > 1:
        note = "diff, p: points to the best run, and exact McNemar test on the same images, Holm-corrected"
        console.print(Text(note, style="dim"))
    for run in comparison.others:
        figures = f"clean {percent(run.clean['accuracy'])}, robust {percent(run.robust['accuracy'])}"
        console.print(Text(f"not comparable: {run.name} ({figures}): {run.obstacle}", style="yellow"))


def _table(columns: tuple[str, ...], text_columns: int) -> Table:
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
