"""The tables of docs/one-better.md, from results/one-better-<data>.json; see `one_better.py`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common import RESULTS
from pages import with_tables

PAGE = Path(__file__).parents[1] / "docs" / "one-better.md"
Report = Mapping[str, Any]


def tables() -> dict[str, str]:
    """Of each data set that is measured, by their names on the page."""
    found = {}
    for path in sorted(RESULTS.glob("one-better-*.json")):
        report, data = json.loads(path.read_text()), path.stem.removeprefix("one-better-")
        made = ({"effects": _effects(report)} if report["effects"] else {}) | {
            "chosen": _chosen(report),
            "confirmed": _confirmed(report),
        }
        found |= {f"{data} {name}": table for name, table in made.items()}
    return found


def write_page() -> None:
    """Put the tables into the page."""
    PAGE.write_text(with_tables(PAGE.read_text(), tables()))


def _effects(report: Report) -> str:
    lines = [f"| {part} | {100 * effect:+.1f} |" for part, effect in report["effects"].items()]
    return "\n".join(["| part | points |", "|---|---|", *lines])


def _chosen(report: Report) -> str:
    lines = []
    for row, name in report["chosen"].items():
        tried = {key.partition(": ")[2]: each for key, each in report["search"].items() if key.startswith(f"{row}: ")}
        best, plain = tried[name], sorted((each["robust"] for each in tried.values()), reverse=True)
        shares = f"{best['robust']:.1%} | {plain[len(plain) // 2]:.1%} | {best['clean']:.1%}"
        lines.append(f"| {row} | {name} | {best['epochs']} | {shares} |")
    head = "| row | best of its candidates | epochs | PGD-10 | median candidate | clean |"
    return "\n".join([head, "|---|---|---|---|---|---|", *lines])


def _confirmed(report: Report) -> str:
    lines = []
    for row, each in sorted(report["confirmed"].items(), key=lambda item: -item[1]["robust"]["mean"]):
        (low, high), clean = each["robust"]["seeds"]["interval"], each["clean"]["mean"]
        test = report["tests"].get(row)
        shown = "| | |"
        if test is not None:
            difference, (least, most) = 100 * test["difference"], [100 * end for end in test["interval"]]
            shown = f"| {difference:+.1f} ({least:+.1f} to {most:+.1f}) | {test['p_seeds']:.2g} |"
        flops = f"{each['cost']['flops']:.2e}"
        lines.append(
            f"| {row} | {clean:.1%} | {each['robust']['mean']:.1%} ({low:.1%} to {high:.1%}) | {flops} {shown}"
        )
    head = "| row | clean | robust, 95 % interval over seeds | FLOPs | Composed minus it, points | p |"
    return "\n".join([head, "|---|---|---|---|---|---|", *lines])
