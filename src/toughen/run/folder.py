"""Paths and small files of a run's folder."""

import json
import re
import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypedDict

import yaml

from toughen.errors import InputError, RunError, ToughenWarning
from toughen.printable import is_name
from toughen.reading.config import Config
from toughen.reading.figure import Some
from toughen.reading.files import read_json, readable
from toughen.reading.result import check_result
from toughen.reading.run_images import RunImages
from toughen.reading.schema import UnfitError, check_kind, shown
from toughen.reading.yaml_text import read_yaml
from toughen.run.files import atomic, check_links, clean_up
from toughen.run.making import check_free, making_run
from toughen.run.manifest import EVALUATIONS, check, damaged, note, read, recorded
from toughen.run.manifest import NAME as MANIFEST
from toughen.settings.own_files import CODE
from toughen.settings.trust import trust_option


class _Input(TypedDict):
    shape: tuple[Some, Some, Some]


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
        self.trace = self.run / "trace.csv"
        self.image_weights = self.run / "image_weights.parquet"
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
        """See `making.check_free`."""
        return check_free(self.path, overwrite)

    def making(self, overwrite: bool = False) -> AbstractContextManager[None]:
        """See `making.making_run`."""
        return making_run(self.path, overwrite)

    def clean_up(self) -> None:
        """Delete what a killed training left; the process holds the lock."""
        clean_up(self.run, but=[file.name for file in (self.verdicts, self.result, self.gallery, self.report)])
        clean_up(self.checkpoint.parent)

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
        check_links(self.run)

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
        """Write config.yaml, of a new run before any other file: what a kill leaves is a run, or nothing."""
        new = not self.config.exists()
        with (atomic if new else recorded)(self.config) as path:
            path.write_text(yaml.safe_dump(config, sort_keys=False))
        if new:
            note(self.run, self.config.name)

    def write_code(self, sources: Mapping[str, bytes]) -> None:
        """Keep the files that config.yaml names something in, by their paths here."""
        for name, source in sources.items():
            (self.run / name).parent.mkdir(exist_ok=True)
            with recorded(self.run / name) as path:
                path.write_bytes(source)

    def check_own_files(self) -> None:
        """Raise where what `write_code` kept is not as it was written; to be asked before its code is run.

        Raises:
            RunError: naming the file.
        """
        for file in sorted((self.run / CODE).glob("*.*")):
            check(file, "restore it")

    def check_code(self, sources: Mapping[str, bytes]) -> None:
        """Raise unless the run was begun with these files.

        Raises:
            InputError: one is another now.
        """
        for name, source in sources.items():
            kept = self.run / name
            if kept.exists() and (not kept.is_file() or kept.read_bytes() != source):
                raise InputError(
                    f"{Path(name).name} is not what the run in {self.path} was begun with, {kept}; take that back, or "
                    "begin another run with --out"
                )

    def warn_of_damage(self, checkpoints: bool = False) -> None:
        """Warn of what is no longer as it was written, although it may be read; see `manifest.damaged`."""
        for file in damaged(self.run, checkpoints):
            if file == self.config:
                advice = "take back what was changed, or train another run with it: --config FILE --out ANOTHER"
            else:
                advice = f"restore it; if you changed it yourself, delete the {MANIFEST} that has its checksum"
            warnings.warn(f"{file} is damaged, or was changed: {advice}", ToughenWarning, stacklevel=2)

    def read_classes(self) -> tuple[str, ...] | None:
        """The names of the classes in the order of the model's logits; None for a folder that does not keep them.

        Raises:
            RunError: damaged.
        """
        if not self.classes.exists():
            return None
        check(self.classes, "restore it: a JSON list of the classes' names, in the order of the model's logits")
        with readable(self.classes, "expected a list of names; restore it"):
            names = tuple(read_json(self.classes, list[str]))
            if not all(map(is_name, names)):
                raise UnfitError("the name of a class has a line break or a control character")
            return names

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
        check(self.input, "restore it")
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
        """Write result.json; a manifest beside it that knows it goes on knowing it."""
        writing = recorded if self.result.name in read(self.path) else atomic
        with writing(self.result) as path:
            path.write_text(json.dumps(result, indent=2))
