"""A study in the terminal: its answers, and the rows of each data set."""

from rich.console import Console
from rich.text import Text

from toughen.reports.study.answers import answers
from toughen.reports.study.claims import answered
from toughen.reports.study.record import StudyRecord
from toughen.reports.study.results import Level, result_of
from toughen.reports.terminal import table_of
from toughen.reports.text import p_value, percent


def show_study(study: StudyRecord, console: Console) -> None:
    """Print of each data set the rows under each budget, then the answers, and what is to be said of claims."""
    results = [result_of(study, name) for name in study.rows]
    claims = answered(study, results)
    for result in results:
        name = result.name
        for level in result.levels[::-1]:
            console.print(Text(f"{name}: {level.protocol}"))
            _show_level(level, console)
        for question, answer in answers(result):
            console.print(Text.assemble((f"{question} ", "bold"), answer))
        for claim in claims[name]:
            if claim.test is not None:
                console.print(Text(str(claim)))
        for row, said in result.lacking.items():
            console.print(Text(f"! {row}: {said}", style="yellow"))


def _show_level(level: Level, console: Console) -> None:
    table = table_of(("", "row", "robust", "over seeds", "clean", "diff", "p seeds", "p images"), 2)
    for rank, row in enumerate(level.rows, 1):
        test, seeds = level.tested.to_best.get(row.name), row.robust.seeds
        table.add_row(
            str(rank),
            Text(row.name, overflow="fold"),
            percent(row.robust.accuracy) + (" !" if row.masked else ""),
            "" if seeds is None else "-".join(f"{100 * bound:.1f}" for bound in seeds.interval),
            percent(row.clean.accuracy),
            "" if test is None else f"{100 * test.difference:+.1f}",
            "" if test is None or test.p_seeds is None else p_value(test.p_seeds),
            "" if test is None or test.p_images is None else p_value(test.p_images),
            style="bold" if row.name == level.best.name else "",
        )
    console.print(table)
