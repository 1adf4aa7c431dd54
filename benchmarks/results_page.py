"""The studies' part of docs/results.md, from results/study-<name>.json.

    python benchmarks/results_page.py                               # the page anew
    python benchmarks/results_page.py cpu-digits=runs/cpu-digits    # take in what a study found in that folder, first

The page has marks: `<!-- study NAME -->` before the tables of a study, `<!-- answers NAME NAME -->` before which row is
best for which case, `<!-- claims NAME NAME -->` before what became of the papers' claims, `<!-- record NAME -->`
before a record (see records.py); `<!-- end -->` after each.
"""

import json
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common import RESULTS, machine
from pages import machine_line, with_tables
from records import table
from toughen import catalog
from toughen.reports.text import bounds, duration, p_value, percent, points

PAGE = Path(__file__).parents[1] / "docs" / "results.md"
CASES = {
    "The most robust network": "Which is most robust?",
    "May be as robust": "Which others may be as robust",
    "Little time to train": "At a fraction of its cost?",
    "Clean accuracy counts": "Which is cleanest?",
    "How sure is this": "How sure is this?",
}
"""Cases of a reader, and the question of a study that answers each."""
ANSWERS = {
    "confirmed": "confirmed",
    "not confirmed: no significant": "without a significant difference",
    "not confirmed: significantly": "significantly the other way round",
    "not confirmed: gradient masking": "of suspected figures",
    "not confirmed: one seed": "of one seed",
    "not run": "not run",
}
"""How a claim's answer begins, and how such answers are counted."""
Report = Mapping[str, Any]


def take_in(name: str, folder: Path, results: Path) -> Path:
    """Copy a study's results, with this machine, on which it is to have run.

    Without its commands, which name folders of this machine, and tests of all pairs.
    """
    report = json.loads((folder / "results.json").read_text())
    for data in report["data"].values():
        if "claims" not in data:
            raise SystemExit(f"{folder} was written by an older version: toughen study {name} --out {folder}")
        for row in data["rows"].values():
            del row["commands"]
        for level in data["levels"]:
            del level["tests"]["pairs"]
    path = results / f"study-{name}.json"
    path.write_text(json.dumps({**report, "study": name, "machine": machine()}, indent=1, ensure_ascii=False) + "\n")
    return path


def parts_of(page: str, results: Path) -> dict[str, str]:
    """What belongs after each mark of the page."""
    makers = {"study": _study, "answers": _answers, "claims": _claims, "record": _record}
    found = {}
    for mark, kind, names in re.findall(r"<!-- ((study|answers|claims|record) ([\w -]+)) -->", page):
        stem = "record" if kind == "record" else "study"
        files = {name: results / f"{stem}-{name}.json" for name in names.split()}
        there = {name: json.loads(file.read_text()) for name, file in files.items() if file.exists()}
        lacking = [f"`{launch(name, stem)}`" for name in files if name not in there]
        text = makers[kind](there) if there else ""
        said = f"Not run: {', '.join(lacking)}." if lacking else ""
        found[mark] = "\n\n".join(filter(None, (text, said))).join("\n\n")  # a mark is no line of a table or list
    return found


def launch(study: str, stem: str = "study") -> str:
    """The command of a shipped study, which is the third line of its file; what takes a record's run in."""
    if stem == "record":
        return f"python benchmarks/records.py {study}=RUN"
    line = Path(catalog.studies()[study].path).read_text().splitlines()[2]
    return line.removeprefix("# ").partition(" --only")[0]


def _label(name: str, data: Report) -> str:
    """`digits (test), linf 0.1`; the name of the data set where nothing is evaluated."""
    if not data["levels"]:
        return name
    known = data["levels"][0]["protocol"]
    return f"{known['data']}, {known['threat']}"


def _sets(reports: Mapping[str, Report]) -> list[tuple[str, Report]]:
    """Each data set of each study, with its label."""
    return [(_label(name, data), data) for report in reports.values() for name, data in report["data"].items()]


def _answers(reports: Mapping[str, Report]) -> str:
    lines = []
    for case, question in CASES.items():
        found = [
            (label, answer)
            for label, data in _sets(reports)
            for asked, answer in data["answers"].items()
            if asked.startswith(question)
        ]
        lines += [f"**{case}**\n", *(f"- {label}: {answer}" for label, answer in found), ""] if found else []
    return "\n".join(lines).strip()


def _claims(reports: Mapping[str, Report]) -> str:
    sets = _sets(reports)
    rows: dict[tuple[str, ...], dict[str, str]] = {}
    for label, data in sets:
        for claim in data["claims"]:
            key = (f"{claim['row']} over {claim['over']}, {claim['measure']}", f"{claim['source']}: {claim['text']}")
            rows.setdefault(key, {})[label] = _cell(claim)
    heads = [label for label, _ in sets]
    lines = [f"| accuracy of | claim | {' | '.join(heads)} |", "|---" * (len(heads) + 2) + "|"]
    lines += [f"| {' | '.join(key)} | {' | '.join(row.get(head, '') for head in heads)} |" for key, row in rows.items()]
    counts = [f"{label}: {_counted(data['claims'])}" for label, data in sets]
    return "\n".join([*(f"- {each}." for each in counts), "", *lines])


def _counted(claims: Sequence[Report]) -> str:
    counts = Counter(
        next(word for begin, word in ANSWERS.items() if claim["answer"].startswith(begin)) for claim in claims
    )
    return f"of {len(claims)} claims: " + ", ".join(f"{n} {kind}" for kind, n in counts.most_common())


def _cell(claim: Report) -> str:
    test = claim["test"]
    if test is None:
        return "not run"
    seeds = "" if test["p_seeds"] is None else f"over seeds {_tested(test['seeds'], test['p_seeds'])}"
    images = ""
    if test["images"] is not None:
        of_these = f"{points(test['images']['difference'])}, {_tested(test['images']['interval'], test['p_images'])}"
        images = f"over images {of_these}"
    return f"**{claim['answer']}**: {points(test['difference'])} ({'; '.join(filter(None, (seeds, images)))})"


def _tested(interval: Sequence[float] | None, p: float) -> str:
    return ", ".join(filter(None, ("" if interval is None else bounds(interval), f"p {p_value(p)}")))


def _record(reports: Mapping[str, Report]) -> str:
    return table(*reports.values())


def _study(reports: Mapping[str, Report]) -> str:
    ((study, report),) = reports.items()
    texts = [f"```\n{launch(study)}\n```", machine_line(report["machine"])]
    for name, data in report["data"].items():
        texts.append(f"{_label(name, data)}: {_protocol(report, data)}")
        texts.append(_table(study, data))
    return "\n\n".join(texts)


def _protocol(report: Report, data: Report) -> str:
    """What the figures depend on, and what they took."""
    if not data["levels"]:
        return "nothing is evaluated yet."
    known, seeds = data["levels"][0]["protocol"], len(report["seeds"])
    levels = [[(len(row["runs"]), row["cost"]) for row in level["rows"].values()] for level in data["levels"]]
    trained = sum(runs * cost["seconds"] for runs, cost in levels[0])
    evaluated = sum(runs * cost["evaluation"] for level in levels for runs, cost in level)
    searched = sum(row["chosen"]["seconds"] for row in data["rows"].values() if row["chosen"])
    return (
        f"{known['test images']} test images, budget {known['budget']}, {seeds} seed{'s' if seeds > 1 else ''}; "
        f"{duration(trained)} of training, {duration(searched)} of searches, both without validation, and "
        f"{duration(evaluated)} of evaluation, by workers of one thread each."
    )


def _table(study: str, data: Report) -> str:
    """A row of the study a line, the most robust first; those without figures last."""
    first, *confirmed = data["levels"] or [{"budget": "", "rows": {}}]
    unit = next((row["cost"]["flops"] for name, row in first["rows"].items() if name == "Standard"), None)
    heads = [
        "row",
        f"robust ({first['budget']}), 95 % over images",
        "95 % over seeds, std",
        *(f"robust ({level['budget']})" for level in confirmed),
        "clean",
        "FLOPs, Standard 1" if unit else "FLOPs",
        "passes",
        "chosen",
        "command",
    ]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name in [*first["rows"], *(name for name in data["rows"] if name not in first["rows"])]:
        cells = _figures(name, first, confirmed, unit) if name in first["rows"] else [""] * (len(heads) - 3)
        chosen = data["rows"][name]["chosen"]
        values = ", ".join(f"{key} {value}" for key, value in ((chosen and chosen["values"]) or {}).items())
        state = data["rows"][name]["state"]
        whole = name if state == "complete" else f"{name} ({state})"
        lines.append(f"| {whole} | {' | '.join(cells)} | {values} | `{launch(study)} --only {name}` |")
    return "\n".join(lines)


def _figures(name: str, first: Report, confirmed: Sequence[Report], unit: float | None) -> list[str]:
    row = first["rows"][name]
    robust, cost = row["robust"], row["cost"]
    seeds, flops = robust["seeds"], cost["flops"]
    return [
        f"{percent(robust['mean'])} ({bounds(robust['images'])}){', masking suspected' if row['doubts'] else ''}",
        f"{bounds(seeds['interval'])}, {100 * seeds['std']:.1f}" if seeds else "",
        *(percent(level["rows"][name]["robust"]["mean"]) if name in level["rows"] else "" for level in confirmed),
        percent(row["clean"]["mean"]),
        "" if flops is None else f"{flops / unit:.1f}" if unit else f"{flops:.2g}",
        " + ".join(map(str, cost["passes"] or ())),
    ]


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        name, _, folder = argument.partition("=")
        print(take_in(name, Path(folder), RESULTS))
    page = PAGE.read_text()
    PAGE.write_text(with_tables(page, parts_of(page, RESULTS)))
    print(PAGE)
