"""A comparison as tables for the terminal; they say in short what its page says."""

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from toughen.evaluation.analyses.transfer_matrix import TransferMatrix
from toughen.reports.comparison import Comparison
from toughen.reports.seed_groups import SeedGroup
from toughen.reports.terminal import table_of
from toughen.reports.text import p_value, percent


def show_comparison(comparison: Comparison, console: Console) -> None:
    """Print the ranking with the paired tests against the best, then seeds, transfer and the runs without a rank."""
    console.print(Text(comparison.protocol))
    _show_ranking(comparison, console)
    if comparison.groups:
        _show_groups(comparison.groups, console)
    if comparison.transfer is not None:
        _show_transfer(comparison.transfer, console)
    for run in comparison.others:
        figures = f"clean {percent(run.clean['accuracy'])}, robust {percent(run.robust['accuracy'])}"
        console.print(Text(f"not comparable: {run.name} ({figures}): {run.obstacle}", style="yellow"))
    for run in comparison.runs:
        if run.masked:
            text = f"! gradient masking suspected: {run.name} failed: {'; '.join(run.masked)}"
            console.print(Text(text, style="yellow"))


def _show_ranking(comparison: Comparison, console: Console) -> None:
    table = table_of(("", "run", "method", "clean", "robust", "95 %", "diff", "p"), text_columns=3)
    for run in comparison.ranked:
        test = run.paired
        table.add_row(
            str(run.rank),
            Text(run.name, overflow="fold"),
            Text(run.method),
            percent(run.clean["accuracy"]),
            percent(run.robust["accuracy"]) + (" !" if run.masked else ""),
            "-".join(f"{100 * bound:.1f}" for bound in run.robust["interval"]),
            "" if test is None else f"{100 * test.difference:+.1f}",
            "" if test is None else p_value(test.p_corrected),
            style="bold" if run.rank == 1 else "",
        )
    console.print(table)
    if len(comparison.ranked) > 1:
        note = "diff, p: points to the best run, and exact McNemar test on the same images, times the number of tests"
        console.print(Text(note, style="dim"))
    if estimated := [run.name for run in comparison.ranked if run.estimated]:
        console.print(Text(f"estimated by an audit, without a test: {', '.join(estimated)}", style="dim"))


def _show_groups(groups: Sequence[SeedGroup], console: Console) -> None:
    table = table_of(
        ("seeds of one configuration", "robust", "std", "95 %", "clean", "std", "diff", "p"), text_columns=1
    )
    for group in groups:
        robust, clean = group.robust, group.clean
        table.add_row(
            Text(f"{group.title} ({len(group.runs)} seeds)"),
            percent(robust.mean),
            f"{100 * robust.std:.1f}",
            "-".join(f"{100 * bound:.1f}" for bound in robust.interval),
            percent(clean.mean),
            f"{100 * clean.std:.1f}",
            "" if group.difference is None else f"{100 * group.difference:+.1f}",
            "" if group.p_corrected is None else p_value(group.p_corrected),
        )
    console.print(table)
    note = (
        "mean over the seeds, sample standard deviation, Student's 95 % interval of the mean; diff, p: points to the "
        "best mean, and Welch's t-test over the seeds, times the number of tests"
    )
    console.print(Text(note, style="dim"))


def _show_transfer(matrix: TransferMatrix, console: Console) -> None:
    columns = [str(number) for number in range(1, len(matrix.names) + 1)]
    table = table_of(("", "crafted on", *columns), text_columns=2)
    for source, (number, name) in enumerate(zip(columns, matrix.names, strict=True)):
        cells = [Text(f"{100 * matrix.figure(source, target)['accuracy']:.1f}") for target in range(len(columns))]
        cells[source].stylize("bold")
        table.add_row(number, Text(name, overflow="fold"), *cells)
    table.add_section()
    clean = [f"{100 * matrix.clean_figure(target)['accuracy']:.1f}" for target in range(len(columns))]
    table.add_row("", Text("no attack"), *clean)
    attack = f"{matrix.attack['attack']}-{matrix.attack['steps']}"
    console.print(Text(f"transfer: accuracy in % of each run (column) under {attack} images of each, n = {matrix.n}"))
    console.print(table)
    for other, misled in matrix.suspects():
        text = f"! gradient masking suspected: {misled} is broken more often by images of {other} than by its own"
        console.print(Text(text, style="yellow"))
