"""Paths and small files of a run's folder, and how a new run comes into it."""

import json
import re
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from typing import Annotated, Any, TypedDict

import yaml

from toughen.errors import InputError, RunError, ToughenWarning
from toughen.reading.config import Config
from toughen.reading.files import read_json, readable
from toughen.reading.result import check_result
from toughen.reading.run_images import RunImages
from toughen.reading.schema import Between, UnfitError, check_kind, shown
from toughen.reading.yaml_text import read_yaml
from toughen.run.files import atomic, clean_up, is_left_over, temporary_beside, writable
from toughen.run.manifest import NAME as MANIFEST
from toughen.run.manifest import check, recorded
from toughen.settings.trust import trust_option


def _move(folder: Path, to: Path) -> None:
    try:
        folder.rename(to)
    except OSError as error:
        raise RunError(
            f"cannot move {folder} to {to}: {error.strerror or error}; move it yourself, or choose another --out"
        ) from error


def _is_a_run(folder: Path) -> bool:
    """Whether its config.yaml tells of data and a model, as every run's does, and not of somebody's own project."""
    try:
        config = read_yaml(folder / "config.yaml")
    except (OSError, UnfitError):
        return False
    return isinstance(config, dict) and {"data", "model"} <= set(config)


EVALUATIONS = "evaluations"
_Pixels = Annotated[int, Between(1, 2**16)]


class _Input(TypedDict):
    shape: tuple[_Pixels, _Pixels, _Pixels]


class RunFolder:
    """Paths and small files of one run, or of one evaluation in it: what was trained is then the run's.

    >>> RunFolder("runs/arow").report.as_posix()
    'runs/arow/report.html'
    >>> one = RunFolder("runs/arow/evaluations/quick-linf-8-255-0a1b2c3d")
    >>> one.report.as_posix(), one.config.as_posix()
    ('runs/arow/evaluations/quick-linf-8-255-0a1b2c3d/report.html', 'runs/arow/config.yaml')
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        one = self.path.parent.name == EVALUATIONS and re.fullmatch(r"\w.*-[0-9a-f]{8}", self.path.name)
        self.run = self.path.parent.parent if one else self.path
        self.config = self.run / "config.yaml"
        self.classes = self.run / "classes.json"
        self.input = self.run / "input.json"
        self.data = self.run / "data.json"
        self.images = self.run / "images.parquet"
        self.metrics = self.run / "metrics.csv"
        self.events = self.run / "events.json"
        self.checkpoint = self.run / "checkpoints" / "last"
        self.before = self.run / "before"
        self.pseudo_labels = self.run / "pseudo_labels.safetensors"
        self.model = self.run / "model.safetensors"
        self.verdicts = self.path / "verdicts.parquet"
        self.result = self.path / "result.json"
        self.gallery = self.path / "gallery.safetensors"
        self.report = self.path / "report.html"

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    @property
    def name(self) -> str:
        """The run's own name, and that of the evaluation where it is one's."""
        own = self.path.absolute().name
        return own if self.run == self.path else f"{self.run.absolute().name}/{own}"

    def create(self) -> None:
        """Make the folder.

        Raises:
            RunError: it holds something already; the disk cannot be written.
        """
        with self.making():
            pass

    def check_free(self, overwrite: bool) -> bool:
        """Raise unless a run may be made here; whether it replaces an earlier one.

        What an `--overwrite` that was killed has left beside the folder is named.

        Raises:
            RunError: it holds something already and `overwrite` is not set, or something that is not a run.
        """
        left = [str(folder) for folder in self._set_aside()]
        note = f"an --overwrite that was stopped left an earlier run in {', '.join(left)}; move it back or delete it"
        free = not self.path.exists() or (self.path.is_dir() and all(map(is_left_over, self.path.iterdir())))
        if not free and not overwrite:
            raise RunError(
                f"{self.path} exists and is not empty; give another --out, go on with it (--resume {self.path}) "
                "or replace it (--overwrite)" + (f"; {note}" if left else "")
            )
        if left:
            warnings.warn(note, ToughenWarning, stacklevel=2)
        if free:
            return False
        if not _is_a_run(self.path):
            raise RunError(
                f"{self.path} is not a run folder (no config.yaml of a run), so --overwrite does not delete it"
            )
        return True

    @contextmanager
    def making(self, overwrite: bool = False) -> Iterator[None]:
        """Make the folder for a run that is prepared inside the block; an earlier run is lost only when that went well.

        While the block runs, an earlier run that `overwrite` replaces lies beside it. If the block fails, the new
        folder is taken away, so that the next try finds the name free, and the earlier run is put back. A link to the
        folder stays, and what it leads to is replaced.

        Raises:
            RunError: it holds something already and `overwrite` is not set, or something that is not a run; the disk
                cannot be written; the folder cannot be moved, as where a disk is mounted on it.
        """
        place, earlier = self.path.resolve(), None
        if self.check_free(overwrite):
            earlier = temporary_beside(place)
            _move(place, earlier)
        try:
            writable(place)
            yield
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            if earlier is not None:
                _move(earlier, place)
            raise
        if earlier is not None:
            shutil.rmtree(earlier, ignore_errors=True)
            if earlier.exists():
                warnings.warn(f"the earlier run could not be deleted whole; delete {earlier}", ToughenWarning, 3)

    def clean_up(self) -> None:
        """Delete what a killed training left; the process holds the lock."""
        clean_up(self.run, but=[file.name for file in (self.verdicts, self.result, self.gallery, self.report)])
        clean_up(self.checkpoint.parent)

    def _set_aside(self) -> list[Path]:
        """Runs that `making` moved out of the way and, as its process was killed, neither put back nor deleted."""
        place = self.path.resolve()
        return sorted(filter(_is_a_run, place.parent.glob(f".{escape(place.name)}.????????")))

    def require(self, *paths: Path) -> None:
        """Raise unless these files exist.

        Raises:
            RunError: naming the missing file and the command that makes it.
        """
        if not self.path.is_dir():
            raise RunError(f"no run folder at {self.path}; expected a folder made by `toughen train`")
        for path in paths:
            if not path.exists():
                if path in (self.result, self.verdicts, self.gallery, self.report):
                    command = f"evaluate {self.run}"
                else:
                    command = f"train {'--resume' if self.checkpoint.exists() else '--out'} {self.path}"
                raise RunError(f"{self.path} has no {path.name}; make it with `toughen {command}{self._trust()}`")

    def _trust(self) -> str:
        """What a command on this run has to trust beside this package; empty where its configuration does not say."""
        try:
            return trust_option(read_yaml(self.config))
        except (OSError, UnfitError):
            return ""

    def read_config(self) -> dict[str, Any]:
        """The configuration as plain dicts, lists, strings and numbers.

        Raises:
            RunError: it is missing or damaged.
        """
        self.require(self.config)
        with readable(self.config, "restore the file"):
            config = read_yaml(self.config)
            check_kind(config, Config)
        return config

    def write_config(self, config: dict[str, Any]) -> None:
        """Write config.yaml."""
        with atomic(self.config) as path:
            path.write_text(yaml.safe_dump(config, sort_keys=False))

    def write_code(self, sources: Mapping[str, bytes]) -> None:
        """Keep the files that config.yaml names something in, by their paths here."""
        for name, source in sources.items():
            (self.run / name).parent.mkdir(exist_ok=True)
            with atomic(self.run / name) as path:
                path.write_bytes(source)

    def check_code(self, sources: Mapping[str, bytes]) -> None:
        """Raise unless the run was begun with these files.

        Raises:
            InputError: one is another now.
        """
        for name, source in sources.items():
            kept = self.run / name
            if kept.exists() and kept.read_bytes() != source:
                raise InputError(
                    f"{Path(name).name} is not what the run in {self.path} was begun with, {kept}; take that back, or "
                    "begin another run with --out"
                )

    def read_classes(self) -> tuple[str, ...] | None:
        """The names of the classes in the order of the model's logits; None for a folder that does not keep them.

        Raises:
            RunError: damaged.
        """
        if not self.classes.exists():
            return None
        check(self.classes, f"restore it, or go on with the run: `toughen train --resume {self.run}`")
        with readable(self.classes, "expected a list of names; restore it"):
            return tuple(read_json(self.classes, list[str]))

    def write_classes(self, names: Sequence[str]) -> None:
        """Write classes.json."""
        with recorded(self.classes) as path:
            path.write_text(json.dumps(list(names), indent=2, ensure_ascii=False))

    def read_shape(self) -> tuple[int, int, int] | None:
        """Channels, height and width of the images that the network was trained on; None where the run does not say.

        Raises:
            RunError: damaged.
        """
        if not self.input.exists():
            return None
        with readable(self.input, "restore it"):
            channels, height, width = read_json(self.input, _Input)["shape"]
        return channels, height, width

    def write_shape(self, shape: tuple[int, int, int]) -> None:
        """Write input.json."""
        with recorded(self.input) as path:
            path.write_text(json.dumps({"shape": shape}))

    def read_data(self) -> RunImages | None:
        """What the run's images are: classes and counts, what was odd and what was left out; None in older runs.

        Raises:
            RunError: damaged.
        """
        if not self.data.exists():
            return None
        check(self.data, "restore it")
        with readable(self.data, "restore it"):
            facts: RunImages = read_json(self.data, RunImages)
            return facts

    def write_data(self, facts: RunImages) -> None:
        """Write data.json."""
        with recorded(self.data) as path:
            path.write_text(json.dumps(facts, indent=2, ensure_ascii=False), encoding="utf-8")

    def read_result(self) -> dict[str, Any]:
        """What `result.json` says.

        Raises:
            RunError: it is missing or damaged, or has a schema that this version does not know.
        """
        self.require(self.result)
        advice = f"`toughen evaluate {self.run} --overwrite`"
        check(self.result, f"make it again with {advice}")
        with readable(self.result, f"make it again with {advice}"):
            result: dict[str, Any] = read_json(self.result, dict[str, Any])
            if result.get("schema") != 1:
                raise RunError(
                    f"{self.result}: expected schema 1, got {shown(result.get('schema'))}; it comes from another "
                    f"version of toughen: evaluate again with {advice}"
                )
            check_result(result)
        return result

    def write_result(self, result: dict[str, Any]) -> None:
        """Write result.json, which a manifest beside it knows from then on."""
        writing = recorded if (self.path / MANIFEST).exists() else atomic
        with writing(self.result) as path:
            path.write_text(json.dumps(result, indent=2))
