"""The tables of docs/performance.md, one a machine, from results/<machine>/<script>.json.

    python benchmarks/pages.py    # after a benchmark

A table stands between the marks `<!-- SCRIPT -->` and `<!-- end -->` of the page.
"""

import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common import RESULTS, Figure

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
Report = Mapping[str, Any]


def with_tables(page: str, tables: Mapping[str, str]) -> str:
    """The page with each table between its marks, `<!-- NAME -->` and `<!-- end -->`, where the page has them."""
    for name, table in tables.items():
        before, mark, rest = page.partition(f"<!-- {name} -->\n")
        if mark:
            page = f"{before}{mark}{table}\n<!-- end -->{rest.partition('<!-- end -->')[2]}"
    return page


def tables_of(results: Path) -> dict[str, str]:
    """By script: a table for each machine on which it ran, under the machine's name."""
    reports: dict[str, list[Report]] = {}
    for path in sorted(results.glob("*/*.json")):
        if "figures" in (report := json.loads(path.read_text())):
            reports.setdefault(path.stem, []).append(report)
    return {name: "\n\n".join(map(table_of, found)) for name, found in reports.items()}


def table_of(report: Report) -> str:
    """The machine's line, and its table."""
    table = steps_table(report) if report["script"] == "training_step.py" else figures_table(report)
    return f"{machine_line(report['machine'])}\n\n{table}"


def machine_line(facts: Report) -> str:
    """`**AMD EPYC, family 25 model 17, 2 cores with AVX512-bf16** (torch 2.14.1+cu130, 2026-11-28)`."""
    told = {"avx512_bf16": "AVX512-bf16", "amx_tile": "AMX"}
    has = " and ".join(name for fact, name in told.items() if facts[fact])
    name = facts["gpu"] or f"{facts['cpu']}, {facts['cores']} cores{' with ' if has else ''}{has}"
    return f"**{name}** (torch {facts['torch']}, {facts['date']})"


def figures_table(report: Report) -> str:
    """A row a figure: value, quartiles, target, verdict."""
    lines = ["| | | target | |", "|---|---|---|---|"]
    for row in report["figures"]:
        figure = Figure(**{name: row[name] for name in Figure.__dataclass_fields__})
        unit, side = figure.unit, "at most" if figure.at_most else "at least"
        bound = "" if figure.target is None else f"{side} {figure.target:g}{unit}"
        verdict = {None: "", True: "met", False: "**missed**"}[figure.met]
        lines.append(f"| {figure.name} | {told(figure.value, figure.spread, unit)} | {bound} | {verdict} |")
    return "\n".join(lines)


def steps_table(report: Report) -> str:
    """The product rates, and a row a method and network: ratios, and the share of that rate on the fewest threads."""
    rows = report["rows"]
    threads = sorted({row["threads"] for row in rows})
    few = [row["matmul_gflops"] for row in rows if row["threads"] == threads[0]]
    rates = {precision: statistics.median(each[precision] for each in few) for precision in ("fp32", "bf16")}
    sides = [(precision, count) for count in threads for precision in ("fp32", "bf16")]
    heads = [f"{precision}, {count} thread{'s' if count > 1 else ''}" for precision, count in sides]
    heads.append(f"share of the product rate, {threads[0]} thread{'s' if threads[0] > 1 else ''}: fp32, bf16")
    lines = [
        f"Products on {threads[0]} thread{'s' if threads[0] > 1 else ''}: {rates['fp32']:,.0f} GFLOP/s in fp32, "
        f"{rates['bf16']:,.0f} in bf16. `--precision auto` is **{report['machine']['auto']}** here.\n",
        f"| network | method | {' | '.join(heads)} |",
        "|---" * (len(heads) + 2) + "|",
    ]
    for network, method in dict.fromkeys((row["network"], row["method"]) for row in rows):
        by_count = {row["threads"]: row for row in rows if (row["network"], row["method"]) == (network, method)}
        cells = [
            told(*by_count[count]["ratio"][precision], "x") if count in by_count else "" for precision, count in sides
        ]
        shares = by_count[threads[0]]["share_of_matmul"] if threads[0] in by_count else {}
        cells.append(", ".join(f"{100 * shares[precision]:.0f} %" for precision in shares))
        lines.append(f"| {network} | {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def told(value: float, spread: tuple[float, float] | None, unit: str) -> str:
    """`2.00x (1.94 to 2.06)`."""
    return f"{value:.2f}{unit}" + (f" ({spread[0]:.2f} to {spread[1]:.2f})" if spread else "")


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text(), tables_of(RESULTS)))
    print(PAGE)
