"""What the guards of a run found and did: kept in the checkpoint, shown by events.json and the report."""

import json
from collections import Counter
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from toughen.reading.files import read_json, readable
from toughen.reading.schema import Count
from toughen.run.manifest import check, recorded


@dataclass(frozen=True)
class Event:
    """Something that a guard found.

    Attributes:
        guard: its name, that of its option.
        epoch: the epoch that it happened in, from 1.
        step: the step of the whole run after which it was found.
        found: what was wrong, in words.
        done: what was done about it, in words; empty where it is only said.
        rolled_back: whether the run went back to its last checkpoint.
    """

    guard: str
    epoch: int
    step: int
    found: str
    done: str = ""
    rolled_back: bool = False

    def __str__(self) -> str:
        return f"epoch {self.epoch}, step {self.step}: {self.found}" + (f"; {self.done}" if self.done else "")


class Facts(TypedDict):
    """An event in events.json."""

    guard: str
    epoch: Count
    step: Count
    found: str
    done: NotRequired[str]
    rolled_back: NotRequired[bool]


KEPT = [field.name for field in fields(Event)]


class Events:
    """The events of a run, in the order in which they happened."""

    def __init__(self) -> None:
        self.all: list[Event] = []

    def rollbacks(self, guard: str) -> int:
        """How often this guard has rolled the run back."""
        return Counter(event.guard for event in self.all if event.rolled_back)[guard]

    def said(self, guard: str) -> bool:
        """Whether this guard has found something already."""
        return any(event.guard == guard for event in self.all)

    def write(self, path: Path) -> None:
        """Write events.json."""
        with recorded(path) as temporary:
            temporary.write_text(json.dumps(self.state_dict(), indent=2))

    def state_dict(self) -> list[dict[str, Any]]:
        """State for a checkpoint."""
        return [asdict(event) for event in self.all]

    def load_state_dict(self, state: list[dict[str, Any]]) -> None:
        """Restore the state from a checkpoint."""
        self.all = [Event(**event) for event in state]


def read_events(path: Path) -> list[Event]:
    """The events that `Events.write` wrote; none where there is no file.

    Raises:
        RunError: damaged.
    """
    if not path.exists():
        return []
    advice = "restore it, or move it away to leave it out"
    check(path, advice)
    with readable(path, advice):
        return [Event(**{name: each[name] for name in KEPT if name in each}) for each in read_json(path, list[Facts])]
