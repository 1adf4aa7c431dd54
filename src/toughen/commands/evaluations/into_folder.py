"""An evaluation beside the others of a run: whether it may go there, what is there already, and what is written."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from time import monotonic

from torch import nn

from toughen.data.source import ImageSet
from toughen.errors import RunError
from toughen.evaluation import (
    Analysis,
    Evaluation,
    EvaluationPlan,
    EvaluationSpec,
    Processes,
    Progress,
    Runner,
    Shard,
    merge_parts,
)
from toughen.evaluation.checks import run_checks
from toughen.evaluation.checks.doubts import reasons
from toughen.evaluation.plan import prepare
from toughen.evaluation.records.evaluations import Evaluations
from toughen.evaluation.records.spec import plain
from toughen.evaluation.records.store import VerdictStore, has_parts
from toughen.evaluation.runner import analyse
from toughen.evaluation.settings import EvaluationSettings
from toughen.reports.page import write_reports
from toughen.run import EVALUATIONS, RunFolder
from toughen.run.files import check_links, clean_up
from toughen.run.lock import Lock
from toughen.threat import ThreatModel


def run_in(
    folder: RunFolder,
    plan: EvaluationPlan,
    before: Evaluation | None,
    *,
    own: bool = True,
    processes: Processes | None = None,
    shard: Shard | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Carry out in a folder what is not there yet, and write the result.

    Args:
        folder: a run's folder.
        plan: what is to be evaluated.
        before: its complete result, where the folder has it already.
        own: whether network and data are those of the folder's configuration, which the headline is of.
        processes: the processes that share the work, where there are several; each calls this.
        shard: one part only: then no result is written.
        progress: told of each step.
    """
    processes, store = processes or Processes(), VerdictStore(folder, plan.spec)
    mine = shard or Shard(processes.rank + 1, processes.size)
    with Lock(store.path, f".{mine.number}-of-{mine.count}.lock"):
        analyses, time_limit = plan.analyses, plan.settings.time_limit
        started = monotonic()
        if own and processes.first:
            with _keeping(folder) as kept:
                kept.note_own(plan.spec)
        if before is not None:
            before = _with_analyses(folder, plan, before, analyses, processes, time_limit)
            if not reasons(before.result) or before.result.get("further"):
                if processes.first:
                    store.remove()  # a kill may have come before the end of that
                return before
            # A check that was made later doubts the figure: what follows a doubt follows it here too.
            if processes.first:
                store.restore(before.verdicts, before.result)
        if processes.size > 1:
            if processes.first:
                store.begin()
            processes.wait()  # nobody takes up verdicts before the first one has looked whether they may be used
        run = Runner(plan, mine, folder, progress, begun=processes.size > 1).carry_out()
        if shard is not None:
            return run.summary()
        processes.wait()
        if processes.first:
            if processes.size == 1:
                evaluation = run.summary()
            else:
                left = None if time_limit is None else time_limit - (monotonic() - started)
                if left is None or left > 0:
                    # All of it is there now; only the whole shows a doubt, which asks for further attacks.
                    Runner(plan, folder=folder, progress=progress, time_limit=left).carry_out()
                reason = "" if time_limit is None else f"time limit of {time_limit:g} s"
                evaluation = merge_parts([store], partial=time_limit is not None, reason=reason)
            evaluation = finish(folder, evaluation)
            if evaluation.result["complete"]:
                store.remove()
        processes.wait()
        return evaluation if processes.first else Evaluations(folder).load(plan.spec)


def evaluate_into(
    folder: RunFolder,
    model: nn.Module,
    images: ImageSet,
    threat: ThreatModel,
    settings: EvaluationSettings,
    *,
    processes: Processes | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Evaluate a model that is at hand, and write verdicts, result, images and report into a folder.

    Evaluations of before stay. `processes` share the work and all call this; by default it is
    this process's alone.
    """
    plan = prepare(model, images, threat, settings)
    before = finished(folder, plan.spec, processes)
    if processes is not None:
        processes.wait()  # nobody writes before all have looked
    return run_in(folder, plan, before, processes=processes, progress=progress)


def _with_analyses(
    folder: RunFolder,
    plan: EvaluationPlan,
    before: Evaluation,
    analyses: Sequence[Analysis],
    processes: Processes,
    time_limit: float | None,
) -> Evaluation:
    """A finished evaluation with the analyses that it lacks; a warning names those that time was not enough for."""
    known = before.result["analyses"]
    wanted = [a for a in analyses if known.get(a.name, {}).get("settings") != plain(a.settings())]
    if processes.first and not wanted:
        before = finish(folder, before)
    elif processes.first:
        made = analyse(plan, wanted, time_limit=time_limit)
        late = [f"not run (time limit of {time_limit:g} s): {a.name}" for a in wanted if a.name not in made]
        found = {**known, **made}
        result = {
            **before.result,
            **run_checks(before.verdicts, found, before.result.get("judged_again")),
            "analyses": found,
        }
        result["warnings"] = [*late, *(text for text in result["warnings"] if not _was_skipped(text, wanted))]
        before = finish(folder, Evaluation(before.verdicts, result, before.gallery))
    processes.wait()
    return before if processes.first else replace(Evaluations(folder).load(plan.spec), reused=not wanted)


def _was_skipped(warning: str, analyses: Sequence[Analysis]) -> bool:
    return warning.startswith("not run (") and warning.endswith(tuple(f": {analysis.name}" for analysis in analyses))


def finish(folder: RunFolder, evaluation: Evaluation) -> Evaluation:
    """Keep an evaluation where it is not kept yet, choose the headline, and write its page and the run's."""
    with _keeping(folder) as kept:
        place = kept.folder(evaluation.result) if evaluation.reused else kept.add(evaluation)
        kept.choose_headline()
        return replace(evaluation, report=write_reports(place))


@contextmanager
def _keeping(folder: RunFolder) -> Iterator[Evaluations]:
    """A run's evaluations while no other process changes which there are; what a killed one left is deleted."""
    kept = Evaluations(folder)
    with Lock(kept.path, wait=True):
        run = kept.run
        clean_up(kept.path)
        clean_up(run.path, only=[file.name for file in (run.verdicts, run.result, run.gallery, run.report)])
        yield kept


def finished(folder: RunFolder, spec: EvaluationSpec, processes: Processes | None = None) -> Evaluation | None:
    """The complete result of this evaluation, where the folder has it.

    The first process of `processes` decides for all, which call this together: a random model may look another to each.

    Raises:
        RunError: a result that cannot be read.
    """
    processes = processes or Processes()
    there = None
    if processes.first and (folder.result.exists() or Evaluations(folder).path.is_dir()):
        with _keeping(folder) as kept:
            there = kept.finished(spec)
    found = processes.agree(there is not None)
    return Evaluations(folder).load(spec) if found and there is None else there


def check_place(folder: RunFolder, own: bool) -> None:
    """Refuse to put an evaluation into a folder that is something else, or that cannot be written.

    Args:
        folder: where the result is to lie.
        own: whether it is the folder of the evaluated run.

    Raises:
        RunError: a training run of its own, a folder without an evaluation in it, a read-only one, or one with links.
    """
    path = folder.path
    trained = not own and (folder.model.exists() or folder.checkpoint.exists())
    ours = own or trained or folder.result.exists() or has_parts(folder) or (path / EVALUATIONS).is_dir()
    if path.exists() and not ours and (not path.is_dir() or any(path.iterdir())):
        raise RunError(f"{path} exists and holds no evaluation; give another folder with --out")
    check_links(folder.run)
    if trained:
        raise RunError(f"{path} is a training run of its own; give another folder with --out")
    if path.exists() and not os.access(path, os.W_OK):
        raise RunError(f"cannot write to {path}: permission denied; choose another folder with --out")
