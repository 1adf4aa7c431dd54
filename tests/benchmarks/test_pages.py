"""The page of performance: a table a machine, as the results have it."""

import json
from pathlib import Path
from typing import Any

from common import RESULTS
from pages import PAGE, figures_table, machine_line, steps_table, tables_of, with_tables

AMD = {
    "cpu": "AMD EPYC",
    "cores": 2,
    "gpu": None,
    "auto": "bf16",
    "avx512_bf16": True,
    "amx_tile": False,
    "torch": "2.14",
    "date": "2026-11-28",
}


def step(method: str, threads: int, ratios: tuple[float, float]) -> dict[str, Any]:
    """A row of training_step.json."""
    return {
        "method": method,
        "network": "resnet18",
        "threads": threads,
        "ratio": {name: [value, [value - 1, value + 1]] for name, value in zip(("fp32", "bf16"), ratios, strict=True)},
        "share_of_matmul": {"fp32": 0.5, "bf16": 0.25},
        "matmul_gflops": {"fp32": 100.0, "bf16": 1200.0},
    }


def test_the_page_has_the_figures_that_were_measured() -> None:
    page = PAGE.read_text()
    tables = tables_of(RESULTS)
    assert with_tables(page, tables) == page
    for script in ("training_step", "evaluation", "loading", "scaling"):
        for path in RESULTS.glob(f"*/{script}.json"):
            assert machine_line(json.loads(path.read_text())["machine"]) in page


def test_steps_of_a_machine_on_one_thread_and_on_two() -> None:
    rows = [step("TRADES", 1, (2.0, 3.0)), step("TRADES", 2, (4.0, 5.0)), step("ARAT", 2, (6.0, 7.0))]
    intro, _, head, _, *lines = steps_table({"rows": rows, "machine": AMD}).splitlines()
    assert "100 GFLOP/s in fp32, 1,200 in bf16" in intro and "**bf16**" in intro
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in (head, *lines)]
    assert {len(row) for row in cells} == {7}
    first = ["2.00x (1.00 to 3.00)", "3.00x (2.00 to 4.00)", "4.00x (3.00 to 5.00)", "5.00x (4.00 to 6.00)"]
    assert cells[1] == ["resnet18", "TRADES", *first, "50 %, 25 %"]
    assert cells[2] == ["resnet18", "ARAT", "", "", "6.00x (5.00 to 7.00)", "7.00x (6.00 to 8.00)", ""]


def test_a_script_has_a_table_of_each_machine(tmp_path: Path) -> None:
    figure = {"name": "a", "value": 2.0, "target": 3.0, "spread": None, "at_most": False, "unit": "x", "met": False}
    for name, cpu in (("one", "AMD EPYC"), ("two", "Intel Xeon")):
        report = {"script": "speed.py", "machine": {**AMD, "cpu": cpu}, "rows": [], "figures": [figure]}
        (tmp_path / name).mkdir()
        (tmp_path / name / "speed.json").write_text(json.dumps(report))
    text = tables_of(tmp_path)["speed"]
    assert text.index("**AMD EPYC, 2 cores") < text.index("**Intel Xeon, 2 cores")
    assert text.count(figures_table({"figures": [figure]})) == 2
    assert "| a | 2.00x | at least 3x | **missed** |" in text
    assert with_tables("x\n<!-- speed -->\nold\n<!-- end -->\ny", {"speed": "new"}).splitlines()[2] == "new"
