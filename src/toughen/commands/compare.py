"""Rank evaluated runs and test them against the best."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from toughen.commands.evaluations.transfer import matrix_of_runs
from toughen.contracts import check_arguments
from toughen.errors import InputError
from toughen.reports.comparison import Comparison, compare_runs
from toughen.reports.comparison_page import write_comparison
from toughen.reports.page import is_ours
from toughen.run import RunFolder
from toughen.settings.trust import obeying_trust


@obeying_trust
def compare(
    runs: list[str],
    *,
    transfer: bool = False,
    transfer_images: int = 200,
    device: str = "auto",
    out: str | None = None,
    trust: Sequence[str] = (),
    progress: Callable[[str], None] | None = None,
) -> Comparison:
    """Rank evaluated runs by robust accuracy and test each against the best on the same images.

    Runs that differ in nothing but the seed are also summed up: mean, standard deviation and 95 % interval; and methods
    with several seeds are tested against the best of them. Of a run its headline is compared; other evaluations are
    named by their folders, such as runs/*/evaluations/quick-*.

    Args:
        runs: run folders, such as runs/*.
        transfer: also craft PGD-50 images on each run's model and show them to every other model.
        transfer_images: number of test images for that.
        device: where that is computed: auto, cpu, cuda or cuda:1.
        out: HTML page to write; default compare.html in the folder that holds the runs.
        trust: what the runs' files may name beside this package's classes and its libraries' networks, such as
            my_package.Net or my_package; their code is run.
        progress: told the name of each run before its images are crafted.

    Returns:
        Comparison: ranking, paired tests (exact McNemar, Holm-corrected), seeds, transfer, settings that differ, the
        page.

    Raises:
        InputError: no run was named; for `transfer`, runs evaluated on other images or under another threat model.
        RunError: a folder without a result; the message says the command that makes it.
    """
    runs = [runs] if isinstance(runs, str | Path) else runs
    for run in runs:
        check_arguments(RunFolder.__init__, {"path": run})
    # `runs/*` also names the page that an earlier comparison left there.
    paths = [Path(run) for run in runs if not is_ours(Path(run))]
    folders = [RunFolder(path) for path in {path.resolve(): path for path in paths}.values()]
    if not folders:
        raise InputError("compare: expected at least one run folder, got none; for example `toughen compare runs/*`")
    comparison = compare_runs(folders)
    for folder in folders:
        folder.warn_of_damage()
    if transfer:
        matrix = matrix_of_runs(comparison.runs, transfer_images, device, progress)
        comparison = replace(comparison, transfer=matrix)
    page = Path(out) if out else shared_folder(folders) / "compare.html"
    return replace(comparison, page=write_comparison(comparison, page))


def shared_folder(folders: list[RunFolder]) -> Path:
    """The folder that holds all runs, relative to the current one where it lies in it."""
    shared = Path(os.path.commonpath([folder.path.absolute().parent for folder in folders]))
    here = Path.cwd()
    return shared.relative_to(here) if shared.is_relative_to(here) else shared
