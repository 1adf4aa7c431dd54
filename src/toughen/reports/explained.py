"""What analyses of a run found, in a sentence each."""

from dataclasses import dataclass
from typing import Any, TypedDict

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

    Raises:
        RunError: an analysis.json that cannot be read.
    """
    newest: dict[str, Told] = {}
    weights = checksum(folder.model) if folder.model.is_file() else ""
    for page in (f"../{FOLDER}/{PAGE}", f"{FOLDER}/{PAGE}"):
        file = (folder.path / page).with_name(FIGURES)
        if not file.is_file() or not weights:
            continue
        with readable(file, f"make it again with `toughen analyze {folder.path} --overwrite`"):
            analysis: Any = read_json(file, _Analysis)
        own = [name for name, known in analysis.get("weights", {}).items() if known == weights]
        created = analysis.get("created", "")
        for explanation, networks in analysis.get("explanations", {}).items():
            sentences = [networks[name]["sentence"] for name in own if name in networks]
            before = newest.get(explanation)
            if sentences and (before is None or before.created <= created):
                newest[explanation] = Told(explanation, sentences[0], page, created)
    return tuple(newest.values())
