"""Join the shards of an evaluation to its result and report."""

from dataclasses import replace

from toughen.commands.evaluations.into_folder import check_place, finish
from toughen.errors import InputError
from toughen.evaluation import Evaluation, Requirement, find_parts, merge_parts
from toughen.run import RunFolder

_WITHOUT_A_MODEL = (
    "merging has no model; `toughen evaluate` without --shard goes on from the verdicts in its folder, --out included"
)


def merge(
    folders: list[str],
    *,
    out: str | None = None,
    key: str | None = None,
    require: str | None = None,
) -> Evaluation:
    """Join the shards of an evaluation, and write the result and the report that one process would have given.

    Where a self-check fails, one process goes on with further attacks, which needs the model. Merging has none: the
    result is then incomplete, meets no requirement, and the shards' verdicts stay. `toughen evaluate` without --shard
    in the folder that the shards shared goes on from them.

    Args:
        folders: where `toughen evaluate --shard i/n` left its verdicts: one folder that all shards share, or several.
        out: folder for the result; default the folder, where it is only one.
        key: first digits of the evaluation's key, where the folders hold parts of several.
        require: what must be shown, such as 'robust >= 0.45 and checks', by the 95 % interval's worse end.

    Returns:
        Evaluation: verdicts, result and a few images; they lie in the folder too, with report.html.

    Raises:
        ToughenError: shards are missing (named), belong to different evaluations, or the folder is not usable.
    """
    if not folders:
        raise InputError("merge: expected at least one folder, got none; for example `toughen merge shard-*`")
    if out is None and len(folders) > 1:
        raise InputError(f"merge: expected --out, the folder for the result of {len(folders)} folders")
    runs = [RunFolder(folder) for folder in folders]
    found = find_parts(runs, key)
    spec = found[0].spec
    requirement = None if require is None else Requirement.parse(require, spec.attacks)
    place = RunFolder(out or folders[0])
    own = any(place.path.resolve() == run.path.resolve() for run in runs)
    check_place(place, own)
    evaluation = merge_parts(found, reason=_WITHOUT_A_MODEL)
    described = next((run for run in runs if run.config.exists()), None)
    if not place.config.exists() and described is not None:
        place.write_config(described.read_config())
    evaluation = finish(place, evaluation)
    for parts in found:
        if evaluation.result["complete"] and parts.path.resolve().is_relative_to(place.path.resolve()):
            parts.remove()
    return evaluation if requirement is None else replace(evaluation, requirement=requirement.judge(evaluation.result))
