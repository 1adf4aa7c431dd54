"""What a study's figures say, in words: the best row, which others may be it, a cheap one, a clean one."""

from collections.abc import Sequence

from toughen.reports.study.against import Against
from toughen.reports.study.figures import Measured, OverRuns
from toughen.reports.study.results import DataResult, Level
from toughen.reports.text import duration, interval, percent, points

FRACTION = 0.5
"""A row is cheap where it takes at most this share of the best one's cost."""


def answers(result: DataResult) -> list[tuple[str, str]]:
    """A question and its answer each, computed from the figures; one that nothing is known of where that is so."""
    if not result.levels:
        return [("Which is best?", "Nothing is evaluated yet.")]
    top = result.top
    return [
        ("Which is most robust?", _best(top)),
        *_others(result, top),
        ("At a fraction of its cost?", _cheap(result)),
        ("Which is cleanest?", _cleanest(result)),
        ("How sure is this?", _sure(result, top)),
    ]


def _best(level: Level) -> str:
    best = level.best
    said = f"{best.name}, with {_figure(best.robust)} robust ({level.budget}) and {percent(best.clean.accuracy)} clean"
    alone = "" if len(level.rows) > 1 else "; no other row is evaluated so"
    passes = "" if best.cost.passes is None else f", {' + '.join(map(str, best.cost.passes))} passes a step"
    cost = f"A run of it trains for {duration(best.cost.seconds)}{passes}."
    suspected = f" Gradient masking is suspected: {'; '.join(best.masked)}." if best.masked else ""
    return f"{said}{alone}. {cost}{suspected}"


def _figure(share: OverRuns) -> str:
    images = f"95 % {interval(share.images)} for other images"
    if share.seeds is None:
        return f"{percent(share.accuracy)} ({images}, one seed)"
    return (
        f"{percent(share.accuracy)} ({images}, {interval(share.seeds.interval)} for other seeds, n = {share.seeds.n})"
    )


def _others(result: DataResult, top: Level) -> list[tuple[str, str]]:
    """The rows that may be the best one, as they are not significantly worse; by the first budget where need be."""
    tests, confirmed = _to_best(result), {row.name for row in top.rows}
    if not tests:
        return []
    said, untested = [], set(tests)
    for worse, what in (("worse_over_seeds", "For other seeds"), ("worse_over_images", "Of these networks alone")):
        known = {name: told for name, test in tests.items() if (told := getattr(test, worse)) is not None}
        if known:
            others = _names([tests[name] for name, told in known.items() if not told])
            said.append(f"{what}: {others or 'no other, all are significantly less robust'}.")
            untested -= known.keys()
    if untested and said:
        said.append(f"Not tested: {', '.join(sorted(untested))}.")
    if any(name not in confirmed for name in tests) and top is not result.levels[0]:
        said.append(f"Rows without {top.budget} are compared by {result.levels[0].budget}.")
    return [(f"Which others may be as robust as {top.best.name}?", " ".join(said) or "Nothing could be tested.")]


def _to_best(result: DataResult) -> dict[str, Against]:
    """The rows that nothing is suspected of against the best one, by the budget that says so where they have it."""
    tests = {**result.levels[0].tested.to_best, **result.top.tested.to_best}
    suspected = {row.name for level in result.levels for row in level.rows if row.masked}
    return {name: test for name, test in tests.items() if name not in {result.top.best.name, *suspected}}


def _names(tests: Sequence[Against]) -> str:
    ordered = sorted(tests, key=lambda test: -test.difference)
    return ", ".join(f"{test.first} ({points(test.difference)})" for test in ordered)


def _cost(row: Measured, by_flops: bool) -> float:
    return (row.cost.flops or 0.0) if by_flops else row.cost.seconds


def _cheap(result: DataResult) -> str:
    rows, defences = result.levels[0].rows, {row.name for row in result.records if row.defends}
    best = next((row for row in rows if row.name == result.top.best.name), rows[0])
    by_flops = all(row.cost.flops for row in rows)
    what, most = "FLOPs" if by_flops else "training time", FRACTION * _cost(best, by_flops)
    cheap = [row for row in rows if _cost(row, by_flops) <= most and not row.masked and row.name in defences]
    if not cheap:
        return f"No other defence takes at most {percent(FRACTION)} of the {what} of {best.name}."
    row = max(cheap, key=lambda row: row.robust.accuracy)
    share, lost = _cost(row, by_flops) / _cost(best, by_flops), row.robust.accuracy - best.robust.accuracy
    return (
        f"Of those with at most {percent(FRACTION)} of the {what} of {best.name} the most robust is {row.name}: "
        f"{percent(row.robust.accuracy)} robust and {percent(row.clean.accuracy)} clean at {percent(share)} "
        f"({points(lost)} robust, {result.levels[0].budget})."
    )


def _cleanest(result: DataResult) -> str:
    level, best = result.levels[0], result.top.best
    tests, alike = _to_best(result), [row for row in result.top.rows if row.name == best.name]
    for row in level.rows:
        if row.name in tests:
            test = tests[row.name]
            worse = test.worse_over_images if test.worse_over_seeds is None else test.worse_over_seeds
            alike += [] if worse is None or worse else [row]
    all_of, of = (max(rows, key=lambda row: row.clean.accuracy) for rows in (level.rows, alike))
    said = (
        f"Of all rows {all_of.name}: {percent(all_of.clean.accuracy)} clean, {percent(all_of.robust.accuracy)} robust."
    )
    if of.name == all_of.name:
        return said
    name = f"{best.name} itself" if of.name == best.name else of.name
    return (
        f"Of {best.name} and those that may be as robust {name}: {percent(of.clean.accuracy)} clean, "
        f"{percent(of.robust.accuracy)} robust. {said}"
    )


def _sure(result: DataResult, top: Level) -> str:
    level = result.levels[0]
    n, found, said = top.rows[0].runs[0][1].robust["n"], level.tested.detectable, []
    seeds = sorted({len(row.runs) for row in level.rows})
    several = "" if seeds[-1] == 1 else "s"
    said.append(f"{n:,} test images, {' to '.join(map(str, (seeds[0], seeds[-1])[: len(seeds)]))} seed{several} a row.")
    if seeds[-1] == 1:
        said.append("With one seed no test speaks of other seeds.")
    elif found is not None:
        said.append(
            f"With these seeds and their spread the test over seeds finds differences from {100 * found:.1f} points on "
            f"({len(level.tested.to_best)} tests, 80 % power): smaller ones may be there unseen."
        )
    if any(row.estimated for row in level.rows):
        said.append(f"Figures by {level.budget} are estimates of AutoAttack.")
    doubted = [row.name for row in level.rows if row.masked]
    if doubted:
        said.append(f"Gradient masking suspected, and so last: {', '.join(doubted)}.")
    if result.lacking:
        said.append(f"Not whole: {', '.join(result.lacking)}.")
    return " ".join(said)
