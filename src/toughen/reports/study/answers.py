"""What a study's figures say, in words: the best row, which are not to be told from it, a cheap one, a clean one."""

from collections.abc import Sequence

from toughen.reports.study.against import LEVEL, Against
from toughen.reports.study.figures import Measured, OverRuns
from toughen.reports.study.results import DataResult, Level
from toughen.reports.text import duration, interval, percent, points

FRACTION = 0.5
"""A row is cheap where it takes at most this share of the best one's cost."""


def answers(result: DataResult) -> list[tuple[str, str]]:
    """A question and its answer each, computed from the figures; one that nothing is known of where that is so."""
    if not result.levels:
        return [("Which is best?", "Nothing is evaluated yet.")]
    top = result.levels[-1]
    found = [("Which is most robust?", _best(top)), *_told(result, top), ("At a fraction of its cost?", _cheap(result))]
    return [*found, ("Which is cleanest?", _cleanest(result)), ("How sure is this?", _sure(result, top))]


def _best(level: Level) -> str:
    best = level.best
    said = f"{best.name}, with {_figure(best.robust)} robust ({level.budget}) and {percent(best.clean.accuracy)} clean"
    alone = "" if len(level.rows) > 1 else "; no other row is evaluated so"
    passes = "" if best.cost.passes is None else f", {' + '.join(map(str, best.cost.passes))} passes a step"
    cost = f"A run of it trains for {duration(best.cost.seconds)}{passes}."
    return f"{said}{alone}. {cost}{' Its figure is doubted: ' + '; '.join(best.masked) + '.' if best.masked else ''}"


def _figure(share: OverRuns) -> str:
    images = f"95 % {interval(share.images)} for other images"
    if share.seeds is None:
        return f"{percent(share.accuracy)} ({images}, one seed)"
    return (
        f"{percent(share.accuracy)} ({images}, {interval(share.seeds.interval)} for other seeds, n = {share.seeds.n})"
    )


def _told(result: DataResult, top: Level) -> list[tuple[str, str]]:
    """The rows that cannot be told from the best one; those that were not confirmed by the first budget."""
    confirmed = {row.name for row in top.rows}
    tests = {**result.levels[0].tested.to_best, **top.tested.to_best}
    tests.pop(top.best.name, None)
    if not tests:
        return []
    said = []
    for over, what in (("p_seeds", "Over the seeds"), ("p_images", "For these networks on these images")):
        known = {name: getattr(test, over) for name, test in tests.items() if getattr(test, over) is not None}
        if known:
            equal = _names([tests[name] for name, p in known.items() if p >= LEVEL])
            said.append(f"{what}: {equal or 'none; all others differ from it'}.")
    rest = [name for name in tests if name not in confirmed]
    if rest and len(result.levels) > 1:
        said.append(f"Rows that {top.budget} did not see are compared by {result.levels[0].budget}.")
    return [(f"Which cannot be told from {top.best.name}?", " ".join(said) or "Nothing could be tested.")]


def _names(tests: Sequence[Against]) -> str:
    ordered = sorted(tests, key=lambda test: -test.difference)
    return ", ".join(f"{test.first} ({points(test.difference)})" for test in ordered)


def _cost(row: Measured, by_flops: bool) -> float:
    return (row.cost.flops or 0.0) if by_flops else row.cost.seconds


def _cheap(result: DataResult) -> str:
    rows = result.levels[0].rows
    best = next((row for row in rows if row.name == result.levels[-1].best.name), rows[0])
    by_flops = all(row.cost.flops for row in rows)
    what, most = "FLOPs" if by_flops else "training time", FRACTION * _cost(best, by_flops)
    cheap = [row for row in rows if _cost(row, by_flops) <= most and not row.masked]
    if not cheap:
        return f"No other row takes at most {percent(FRACTION)} of the {what} of {best.name}."
    row = max(cheap, key=lambda row: row.robust.accuracy)
    share, lost = _cost(row, by_flops) / _cost(best, by_flops), row.robust.accuracy - best.robust.accuracy
    return (
        f"{row.name}: {percent(row.robust.accuracy)} robust and {percent(row.clean.accuracy)} clean at "
        f"{percent(share)} of the {what} of {best.name} ({points(lost)} robust, {result.levels[0].budget})."
    )


def _cleanest(result: DataResult) -> str:
    level, top = result.levels[0], result.levels[-1]
    tests = {**level.tested.to_best, **top.tested.to_best}
    equal = [row for row in top.rows if row.name == top.best.name]
    for row in level.rows:
        test = tests.get(row.name)
        p = None if test is None else test.p_seeds if test.p_seeds is not None else test.p_images
        if row.name != top.best.name and p is not None and p >= LEVEL and not row.masked:
            equal.append(row)
    all_of, of = (max(rows, key=lambda row: row.clean.accuracy) for rows in (level.rows, equal))
    said = (
        f"Of all rows {all_of.name}: {percent(all_of.clean.accuracy)} clean, {percent(all_of.robust.accuracy)} robust."
    )
    if of.name == all_of.name:
        return said
    return (
        f"Of those that cannot be told from {top.best.name} {of.name}: {percent(of.clean.accuracy)} clean, "
        f"{percent(of.robust.accuracy)} robust. {said}"
    )


def _sure(result: DataResult, top: Level) -> str:
    level = result.levels[0]
    n, found, said = top.rows[0].runs[0][1].robust["n"], level.tested.detectable, []
    seeds = sorted({len(row.runs) for row in level.rows})
    said.append(f"{n:,} test images, {'-'.join(map(str, (seeds[0], seeds[-1])[: len(seeds)]))} seed(s) a row.")
    if found is None:
        said.append("The spread over seeds is not known for all rows, so no test speaks of other seeds.")
    else:
        said.append(
            f"With these seeds and this spread the test over seeds finds differences from {100 * found:.1f} points on "
            f"({len(level.tested.to_best)} tests, 80 % power): smaller ones may be there unseen."
        )
    if any(row.estimated for row in level.rows):
        said.append(f"Figures by {level.budget} are estimates of AutoAttack.")
    doubted = [row.name for row in level.rows if row.masked]
    if doubted:
        said.append(f"Doubted, and so last: {', '.join(doubted)}.")
    if result.lacking:
        said.append(f"Not whole: {', '.join(result.lacking)}.")
    return " ".join(said)
