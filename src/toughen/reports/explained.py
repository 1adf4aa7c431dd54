"""What analyses of a run found, in a sentence each."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from toughen.errors import RunError, ToughenWarning
from toughen.reading.files import read_json, readable
from toughen.run import RunFolder
from toughen.run.manifest import checksum

FOLDER, FIGURES, PAGE = "analysis", "analysis.json", "analysis.html"
"""Where `toughen analyze` puts its result unless told otherwise: in the run, or beside it for several runs."""


class _Sentence(TypedDict):
    sentence: str


class _Analysis(TypedDict, total=False):
    created: str
    weights: dict[str, str]
    explanations: dict[str, dict[str, _Sentence]]


@dataclass(frozen=True)
class Told:
    """What an explanation found.

    Attributes:
        explanation: its name, which is also its section's in the page.
        sentence: what was found.
        page: the page, from the run's folder.
        created: when, ISO 8601.
    """

    explanation: str
    sentence: str
    page: str
    created: str


def told_by_analyses(folder: RunFolder) -> tuple[Told, ...]:
    """What the analyses in a run's folder and beside it say of the weights that the run has now; the newest of each.

    An analysis.json that cannot be read, such as that of another program beside the run, is left out with a
    `ToughenWarning`.
    """
    newest: dict[str, Told] = {}
    weights = checksum(folder.model) if folder.model.is_file() else ""
    for page in (f"../{FOLDER}/{PAGE}", f"{FOLDER}/{PAGE}"):
        analysis = _read((folder.path / page).with_name(FIGURES)) if weights else {}
        own = [name for name, known in analysis.get("weights", {}).items() if known == weights]
        created = analysis.get("created", "")
        for explanation, networks in analysis.get("explanations", {}).items():
            sentences = [networks[name]["sentence"] for name in own if name in networks]
            before = newest.get(explanation)
            if sentences and (before is None or before.created <= created):
                newest[explanation] = Told(explanation, sentences[0], page, created)
    return tuple(newest.values())


def _read(file: Path) -> _Analysis:
    try:
        with readable(file, "reports are made without what it found"):
            analysis: _Analysis = read_json(file, _Analysis) if file.is_file() else {}
            return analysis
    except RunError as error:
        warnings.warn(str(error), ToughenWarning, stacklevel=2)
        return {}
