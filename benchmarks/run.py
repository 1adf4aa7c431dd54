"""All speed benchmarks, or a quick choice of them, and one line a figure in the end: `name  ratio  target  met|missed`.

    python benchmarks/run.py            # make bench: hours on two cores
    python benchmarks/run.py --quick    # make bench-quick: figures 1 (TRADES, ARoW) and 4, ten minutes on two cores

Every script runs in a process of its own and writes its JSON into results/ (results/quick/ for the quick ones), in the
machine's folder; `pages.py` brings them into docs/performance.md. A script that fails is named in the end; the others
still run. What needs a GPU is gpu.py.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from common import Figure, machine, place_of

HERE = Path(__file__).parent
SCRIPTS: dict[str, list[str]] = {
    "training_step.py": [],
    "fast_against_plain.py": [],
    "bf16_attacks.py": [],
    "evaluation.py": [],
    "loading.py": [],
    "scaling.py": [],
    "trace.py": [],
    "peers.py": [],
    "startup.py": [],
}
QUICK: dict[str, list[str]] = {
    "training_step.py": [
        "--methods",
        "TRADES",
        "ARoW",
        "--networks",
        "resnet18",
        "--threads",
        "1",
        "--repetitions",
        "5",
    ],
    "evaluation.py": ["--quick"],
}


def lines_of(script: str, results: Path) -> list[str]:
    """A finished script's figures."""
    report = json.loads((results / place_of(machine()).name / f"{Path(script).stem}.json").read_text())
    names = Figure.__dataclass_fields__
    return [Figure(**{name: row[name] for name in names}).line() for row in report["figures"]]


def main() -> int:
    """Run them in turn; 1 if one of them failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    results = HERE / "results" / ("quick" if quick else "")
    results.mkdir(parents=True, exist_ok=True)
    lines, failed = [], []
    for script, options in (QUICK if quick else SCRIPTS).items():
        print(f"== {script} {' '.join(options)}", file=sys.stderr, flush=True)
        command = [sys.executable, str(HERE / script), *options]
        status = subprocess.run(command, env={**os.environ, "BENCHMARK_RESULTS": str(results)}).returncode
        if status:
            failed.append(f"{script} failed with exit status {status}")
        else:
            lines += lines_of(script, results)
    print("\n".join(lines + failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
