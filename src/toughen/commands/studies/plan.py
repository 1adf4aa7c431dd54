"""What a study is made of: rows (methods with settings), data and seeds, and the settings of each of their runs."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from toughen.commands.studies.trial import with_values
from toughen.commands.trainings.settings import check_settings
from toughen.errors import InputError, did_you_mean
from toughen.numbers import check_number, check_seed
from toughen.reading.schema import UnfitError, check_kind, shown
from toughen.reports.study.record import Confirm
from toughen.run import RunFolder
from toughen.search.space import read_space
from toughen.settings.description import describe

CHOOSING_SEED = 10_000
"""Of the trials that a row's settings are chosen by, so that no seed of the study has seen what was chosen."""
_OWN = ("choose", "needs")
_ALIKE = "rows are evaluated alike, to be compared"
_FIXED = {
    "seed": "a study's seeds are its own list: seeds",
    "budget": f"{_ALIKE}: budget beside rows",
    "data": "it stands under the study's data",
    "threat": f"{_ALIKE}: threat under the study's data, and another radius is another data set there",
    "test_images": f"{_ALIKE}: test_images beside rows or under data",
    "sample": f"{_ALIKE}: sample beside rows or under data",
}
_NOT_HERE = {"seed": _FIXED["seed"], "budget": _FIXED["budget"], "method": "each row has its own"}


class _RowFile(TypedDict):
    """What a row says beside settings of `train`."""

    choose: NotRequired[dict[str, list[Any]]]
    needs: NotRequired[dict[str, str]]


class _ConfirmFile(TypedDict):
    """What `confirm` says."""

    budget: str
    best: int


@dataclass(frozen=True)
class Row:
    """A method with its settings.

    Attributes:
        name: in tables and folders.
        values: settings of `train`, plain, by dotted name.
        choose: settings with the values that are tried on held-out images first.
        needs: settings that are given the folder of another row's run, of the same data and seed, by that row's name.
    """

    name: str
    values: dict[str, Any]
    choose: dict[str, list[Any]]
    needs: dict[str, str]

    @property
    def candidates(self) -> int:
        """How many combinations of values are tried before one is taken."""
        return prod(len(values) for values in self.choose.values())


@dataclass(frozen=True)
class StudyPlan:
    """A whole study.

    Attributes:
        folder: where its runs lie.
        rows: by name.
        data: of each data set, by name, its source and what all runs on it share; plain settings by dotted name.
        seeds: one run each.
        shared: settings of `train` of all runs, as objects, complete; their budget is the first evaluation's.
        confirm: the second evaluation; None without one.
    """

    folder: Path
    rows: dict[str, Row]
    data: dict[str, dict[str, Any]]
    seeds: tuple[int, ...]
    shared: dict[str, Any]
    confirm: Confirm | None

    def run(self, data: str, row: str, seed: int) -> RunFolder:
        """The folder of a run."""
        return RunFolder(self.folder / "runs" / data / row / f"seed{seed}")

    def values(self, data: str, row: str, seed: int, chosen: Mapping[str, Any]) -> dict[str, Any]:
        """What a run's settings have beside those that all share, plain, by dotted name.

        Trials, of another seed than the runs have, are given what they need by the runs of the first seed.
        """
        own = seed if seed in self.seeds else self.seeds[0]
        needed = {name: str(self.run(data, of, own).path) for name, of in self.rows[row].needs.items()}
        return {**self.data[data], **self.rows[row].values, **chosen, **needed}

    def settings(self, data: str, row: str, seed: int, chosen: Mapping[str, Any]) -> dict[str, Any]:
        """The settings of a run, as objects.

        Raises:
            InputError: a value that its setting does not take.
        """
        values = self.values(data, row, seed, chosen)
        return {**with_values(self.shared, values, f"{row} on {data}"), "seed": seed}

    def described(self) -> dict[str, Any]:
        """What decides about the runs, plain, by which a study that goes on is compared with what was begun."""
        rows = {name: {**row.values, "choose": row.choose, "needs": row.needs} for name, row in self.rows.items()}
        aside = ("device", "workers", "trackers", "log_every", "checkpoint_every", "seed", "method", "data", "budget")
        shared = {name: describe(value) for name, value in self.shared.items() if name not in aside}
        return {"rows": rows, "data": self.data, "shared": shared}


def plan_of(
    folder: Path,
    rows: Mapping[str, Any],
    data: Mapping[str, Any],
    seeds: Sequence[int],
    shared: dict[str, Any],
    confirm: Mapping[str, Any] | None,
    unequal: bool,
) -> StudyPlan:
    """The study that a file or a call describes, every setting of every run checked.

    Raises:
        InputError: naming the row, the data set or the setting.
    """
    found = {name: _row(name, described, rows) for name, described in describe(dict(rows)).items()}
    sets = {name: _data(name, described) for name, described in describe(dict(data)).items()}
    for what, named in (("rows", found), ("data", sets)):
        if not named:
            raise InputError(f"{what}: expected one or more, such as {{TRADES: {{method: TRADES}}}}, got none")
        _check_names(what, named)
    if len(set(seeds)) < len(seeds) or not seeds:
        raise InputError(f"seeds: expected different seeds such as 0,1,2, got {','.join(map(str, seeds)) or 'none'}")
    for seed in seeds:
        check_seed("seeds", seed)
        if seed == CHOOSING_SEED:
            raise InputError(f"seeds: {seed} is the seed that settings are chosen with; take another one")
    plan = StudyPlan(folder, found, sets, tuple(seeds), shared, _confirm(confirm, found, shared["budget"]))
    defends = {name: _check_runs(plan, name) for name in found}
    _check_candidates([row for name, row in found.items() if defends[name]], unequal)
    return plan


def _check_names(what: str, names: Mapping[str, Any]) -> None:
    for name in names:
        if not re.fullmatch(r"\w[\w.+-]*", name):
            raise InputError(
                f"{what}: {name!r} is to name a folder; expected letters, digits and _ . + - within, such as TRADES+AWP"
            )
    if len({name.lower() for name in names}) < len(names):
        raise InputError(f"{what}: names that differ in case alone would share a folder; rename one of them")


def _row(name: str, described: Any, rows: Mapping[str, Any]) -> Row:
    described = {"method": described} if isinstance(described, str) else described
    own = _part(described, f"rows.{name}", _RowFile, _FIXED)
    needs, choose = own.get("needs", {}), own.get("choose", {})
    for of in needs.values():
        if of not in rows or of == name:
            raise InputError(f"rows.{name}.needs: expected the name of another row, got {of!r}")
        if isinstance(rows[of], Mapping) and rows[of].get("needs"):
            raise InputError(f"rows.{name}.needs: {of} needs another row itself; expected one that needs none")
    if choose:
        read_space(choose)  # lists of different numbers and names
    values = _flat({key: value for key, value in described.items() if key not in _OWN})
    if "method" not in values:
        raise InputError(f"rows.{name}: expected a method, such as {{method: TRADES, method.beta: 6}}, got none")
    return Row(name, values, choose, needs)


def _data(name: str, described: Any) -> dict[str, Any]:
    described = {"data": described} if isinstance(described, str) else described
    _part(described, f"data.{name}", dict[str, Any], _NOT_HERE)
    values = _flat(described)
    if "data" not in values:
        raise InputError(f"data.{name}: expected its source, such as {{data: digits, epochs: 10}}, got none")
    return values


def _flat(described: Mapping[str, Any], outer: str = "") -> dict[str, Any]:
    """Settings within settings by dotted names, so that of two ways to say the same the later one counts.

    >>> _flat({"model": {"class_path": "small_cnn", "init_args": {"width": 4}}, "threat": {"eps": 0.1}})
    {'model': 'small_cnn', 'model.width': 4, 'threat.eps': 0.1}
    """
    found: dict[str, Any] = {}
    for key, value in described.items():
        name = f"{outer}{key}"
        if isinstance(value, Mapping) and "class_path" in value:
            found[name] = value["class_path"]
            found |= _flat(value.get("init_args") or {}, f"{name}.")
        elif isinstance(value, Mapping):
            found |= _flat(value, f"{name}.")
        else:
            found[name] = value
    return found


def _part(described: Any, place: str, kind: Any, refused: Mapping[str, str]) -> dict[str, Any]:
    if not isinstance(described, Mapping) or not all(isinstance(name, str) for name in described):
        raise InputError(f"{place}: expected settings such as {{method: TRADES}}, got {shown(described)}")
    for name in described:
        if name.partition(".")[0] in refused:
            raise InputError(f"{place}.{name}: it cannot stand here, as {refused[name.partition('.')[0]]}")
    try:
        check_kind(dict(described), kind)
    except UnfitError as error:
        raise InputError(f"{place}.{error}") from error
    return dict(described)


def _confirm(described: Mapping[str, Any] | None, rows: Mapping[str, Row], budget: str) -> Confirm | None:
    if described is None:
        return None
    try:
        check_kind(describe(dict(described)), _ConfirmFile, "confirm")
    except UnfitError as error:
        raise InputError(f"{error}; such as {{budget: standard, best: 3}}") from error
    known = ("quick", "fast", "standard", "thorough")
    if described["budget"] not in known or described["budget"] == budget:
        raise InputError(
            f"confirm.budget: expected another one than the first evaluation's {budget}, of {', '.join(known)}, got "
            f"{described['budget']!r}"
        )
    check_number("confirm.best", described["best"], least=1, whole=True)
    return Confirm(described["budget"], min(described["best"], len(rows)))


def _check_runs(plan: StudyPlan, row: str) -> bool:
    """Check the settings of a row's runs, with each value that may be chosen; whether its method defends.

    Raises:
        InputError: naming the row and the setting.
    """
    for data in plan.data:
        names = [name.partition(".")[0] for name in plan.values(data, row, plan.seeds[0], plan.rows[row].choose)]
        for name in names:
            if name not in plan.shared:
                raise InputError(f"{row} on {data}: unknown setting {name!r}; {did_you_mean(name, plan.shared)}")
        for chosen in _alternatives(plan.rows[row].choose):
            settings = plan.settings(data, row, plan.seeds[0], chosen)
            try:
                check_settings(settings)
            except InputError as error:
                raise InputError(f"{row} on {data}: {error}") from error
            if settings["sample"] == "random":
                raise InputError(f"sample: random takes other images for each seed of {data}; give by_class or first")
    return bool(settings["method"].defends)


def _alternatives(choose: Mapping[str, list[Any]]) -> Iterator[dict[str, Any]]:
    """Every value once, beside the first of the others."""
    first = {name: values[0] for name, values in choose.items()}
    yield first
    for name, values in choose.items():
        for value in values[1:]:
            yield {**first, name: value}


def _check_candidates(rows: Sequence[Row], unequal: bool) -> None:
    """Raise where one method is looked for with more values than another: it would win by that.

    A method that defends against nothing is left out of this, as it has no weight to choose.

    Raises:
        InputError: with the numbers.
    """
    counts = {row.name: row.candidates for row in rows}
    if len(set(counts.values())) > 1 and not unequal:
        said = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise InputError(
            f"rows are chosen from different numbers of candidates ({said}), and the one with most has an advantage; "
            "give each as many under choose, or say `unequal: true`, which the page then says too"
        )
