"""The tables of docs/explanations.md, from results/explanations.json."""

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any, get_args

import numpy as np

from explanations_claims import CLAIMS, METHODS, PUBLISHED, SEEDS, STUDIES, Claim, Judged, Verdict, judge
from pages import with_tables


def claim_row(report: Mapping[str, Any], data: str, claim: Claim) -> str:
    """A claim on one data set, as a row of a table."""
    seeds = [report["analyses"][f"{data}/{claim.study}/{seed}"] for seed in SEEDS]
    first, second = (
        [0.0 if of is None else each["figures"][of.network][of.figure] for each in seeds]
        for of in (claim.first, claim.second)
    )
    judged = judge([a - b for a, b in zip(first, second, strict=True)], claim.side)
    intervals = [each["within"][claim.name][1:] for each in seeds if claim.name in each["within"]]
    alone = "-"
    if intervals:
        sides = [judge_side(low, high) for low, high in intervals]
        alone = f"{sides.count(claim.side)} for, {len(sides) - sides.count(claim.side) - sides.count('')} against"
    held_against = f"{mean(second):.3g}" if claim.second else "0"
    return (
        f"| {claim.says}, {claim.side} | {data} | {mean(first):.3g} | {held_against} | {text(judged)} | {alone} "
        f"| **{judged.verdict}** |"
    )


def judge_side(low: float, high: float) -> str:
    """The side of 0 on which an interval lies, empty where it holds 0."""
    return "higher" if low > 0 else "lower" if high < 0 else ""


def text(judged: Judged) -> str:
    """`+0.12 (+0.10 to +0.14)`."""
    if np.isinf(judged.interval).any():
        return f"{judged.value:+.3g} (one seed)"
    low, high = (round(bound, 6) + 0.0 for bound in judged.interval)
    return f"{judged.value:+.3g} ({low:+.2g} to {high:+.2g})"


HEAD = (
    "| what the paper says | data | first | second | first less second, 95 % over seeds | seeds by images | here |\n"
    "|---|---|---|---|---|---|---|"
)


def study_table(report: Mapping[str, Any], study: str) -> str:
    """All claims of a study."""
    rows = [claim_row(report, data, claim) for claim in CLAIMS if claim.study == study for data in data_sets(report)]
    return "\n".join([HEAD, *rows])


def summary_table(report: Mapping[str, Any]) -> str:
    """How many claims of each study came out how, by data set."""
    sets = list(dict.fromkeys([*data_sets(report), *swept_sets(report)]))
    lines = [f"| paper | {' | '.join(sets)} |", "|---" * (len(sets) + 1) + "|"]
    for study in (*STUDIES, "D2R"):
        cells = []
        for data in sets:
            if study == "D2R":
                rows = function_claims(report, data) if data in swept_sets(report) else []
            else:
                own = [claim for claim in CLAIMS if claim.study == study and data in data_sets(report)]
                rows = [claim_row(report, data, claim) for claim in own]
            counts = Counter(row.split("**")[-2] for row in rows)
            words = [f"{counts[verdict]} {verdict}" for verdict in get_args(Verdict) if counts[verdict]]
            cells.append(", ".join(words) or "not measured")
        lines.append(f"| {study} | {' | '.join(cells)} |")
    return "\n".join(lines)


def swept_sets(report: Mapping[str, Any]) -> list[str]:
    """The data sets on which D2R's sweep was made, for one seed or more."""
    return list(dict.fromkeys(key.split("/")[0] for key in report["sweeps"]))


def data_sets(report: Mapping[str, Any]) -> list[str]:
    """Those that were measured whole."""
    names = dict.fromkeys(key.split("/")[0] for key in report["analyses"])
    return [
        name
        for name in names
        if all(f"{name}/{study}/{seed}" in report["analyses"] for study in STUDIES for seed in SEEDS)
    ]


def accuracy_table(report: Mapping[str, Any]) -> str:
    """Clean accuracy and accuracy under the attack of every network, mean and standard deviation over seeds."""
    lines = ["| network | data | clean | under attack |", "|---|---|---|---|"]
    for name in METHODS:
        study = next(each for each, (names, _) in STUDIES.items() if name in names)
        for data in data_sets(report):
            seeds = [report["analyses"][f"{data}/{study}/{seed}"]["figures"][name] for seed in SEEDS]
            cells = [
                f"{mean(values):.1%} ± {stdev(values):.1%}"
                for figure in ("clean_risk", "robust_risk")
                for values in [[1 - each[f"bound.{figure}"] for each in seeds]]
            ]
            lines.append(f"| {name} | {data} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)


def sweep_rows(report: Mapping[str, Any], data: str) -> list[list[dict[str, Any]]]:
    """The trials of D2R's sweep, one list a seed, of the seeds that are measured."""
    return [report["sweeps"][f"{data}/{seed}"] for seed in SEEDS if f"{data}/{seed}" in report["sweeps"]]


def robust_of(rows: Sequence[Mapping[str, Any]], collaborative: bool) -> dict[tuple[str, str], float]:
    """Held-out accuracy under attack by functions of the clean and the adversarial distribution."""
    return {
        (each["clean"], each["adversarial"]): each["robust"]
        for each in rows
        if each["collaborative"] == collaborative and each["robust"] is not None
    }


def function_table(report: Mapping[str, Any], data: str) -> str:
    """D2R's table: accuracy with and without collaborative generation, mean over seeds; the best of each in bold."""
    seeds = sweep_rows(report, data)
    means = {}
    for collaborative in (True, False):
        found = [robust_of(rows, collaborative) for rows in seeds]
        means[collaborative] = {pair: mean(each[pair] for each in found) for pair in found[0]}
    columns = list(dict.fromkeys(pair[1] for pair in means[True]))
    lines = [f"| clean, down; adversarial, across | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for row in dict.fromkeys(pair[0] for pair in means[True]):
        cells = [
            " / ".join(
                f"{'**' * (value == max(each.values()))}{value:.1%}{'**' * (value == max(each.values()))}"
                for each in means.values()
                for value in [each[row, column]]
            )
            if (row, column) in means[True]
            else "-"
            for column in columns
        ]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join(lines)


def function_claims(report: Mapping[str, Any], data: str) -> list[str]:
    """What D2R's paper says of its table, judged by the same rule."""
    seeds = sweep_rows(report, data)
    with_cag, without = ([robust_of(rows, each) for rows in seeds] for each in (True, False))
    own = [each[PUBLISHED] for each in with_cag]
    others = [mean(value for pair, value in each.items() if pair != PUBLISHED) for each in with_cag]
    means = [[mean(each.values()) for each in side] for side in (with_cag, without)]
    rows = []
    for says, first, second in (
        ("collaborative generation withstands more: mean over the pairs, higher", *means),
        ("the published pair withstands more than the others' mean, higher", own, others),
    ):
        judged = judge([a - b for a, b in zip(first, second, strict=True)], "higher")
        figures = f"{mean(first):.3g} | {mean(second):.3g} | {text(judged)}"
        rows.append(f"| {says} | {data} | {figures} | - | **{judged.verdict}** |")
    return rows


def places(report: Mapping[str, Any], data: str) -> str:
    """The published pair's place among all pairs, seed by seed, and both claims without the pairs with MSE."""
    found, without = ([robust_of(rows, each) for rows in sweep_rows(report, data)] for each in (True, False))
    ranks = [1 + sum(value > each[PUBLISHED] for value in each.values()) for each in found]
    learning = [pair for pair in found[0] if "mse" not in pair]
    others = [pair for pair in learning if pair != PUBLISHED]
    own = judge([each[PUBLISHED] - mean(each[pair] for pair in others) for each in found], "higher")
    gains = [mean(a[pair] - b[pair] for pair in learning) for a, b in zip(found, without, strict=True)]
    return (
        f"Place of the published pair, seed by seed: {', '.join(map(str, ranks))} of {len(found[0])}. Looked at "
        f"afterwards, and not counted: without the pairs with MSE the published one less the others' mean is "
        f"{text(own)}, and what collaborative generation adds is {text(judge(gains, 'higher'))}."
    )


def tables(report: Mapping[str, Any]) -> dict[str, str]:
    """The tables of the page by their names."""
    swept = swept_sets(report)
    claims = [row for data in swept for row in function_claims(report, data)]
    return {
        "summary": summary_table(report),
        "accuracies": accuracy_table(report),
        **{study: study_table(report, study) for study in STUDIES},
        **{f"D2R on {data}": function_table(report, data) for data in swept},
        **{f"D2R's places on {data}": places(report, data) for data in swept},
        "D2R": "\n".join([HEAD, *claims]) if claims else "Not measured yet.",
    }


def page_with(page: str, report: Mapping[str, Any]) -> str:
    """The page with the tables as the report has them."""
    return with_tables(page, tables(report))
