"""Runs of the command line that are killed or asked to stop at a chosen moment, and what they leave.

`python killed.py` reads jobs from its input, a JSON object a line, and answers each with a list: what came of each
kill. A job trains a run by `toughen train LINE --resume auto` to its end, then kills others of the same command, which
the same command then takes to the end; it says what differs from the first run, and what is left over. One interpreter
loads torch and all that the first run needed once: every process of a run is a fork of it, made before torch has a
thread of its own.
"""

import faulthandler
import importlib
import json
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
import traceback
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kept import content, differing, left_over

EVENTS = {"open", "os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.truncate", "shutil.rmtree", "os.listdir"}
PATIENCE = 20.0
"""Seconds that the other processes of a run have to end after one of them; torchrun gives them 30."""


@dataclass(frozen=True)
class Blow:
    """What befalls a run: a signal, which one of its processes sends to itself.

    Attributes:
        number: the signal.
        event: at which event of the file system, counted from 1, in the run's folder; 0 for never.
        after: or after so many seconds.
        whom: which process; -1 for all at once, at the first one's event.
    """

    number: int = signal.SIGKILL
    event: int = 0
    after: float | None = None
    whom: int = 0


@dataclass(frozen=True)
class Ended:
    """How a run ended: the status of each process, their events, what they said, and the seconds that it took."""

    statuses: list[int]
    events: list[int]
    said: str
    seconds: float


def run(line: list[str], processes: int = 1, blow: Blow = Blow(), script: str = "") -> Ended:
    """Run a command in so many processes, as torchrun starts them, each after a piece of Python."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as notes:
        children = []
        port = _free_port()
        for rank in range(processes):
            child = os.fork()
            if child == 0:
                os.setpgid(0, children[0] if children else 0)
                _be(line, rank, processes, port, Path(notes), blow, script)
            children.append(child)
            with suppress(OSError):  # whoever comes first
                os.setpgid(child, children[0])
        statuses = _ends(children, blow)
        seconds, told = time.monotonic() - began, list[dict[str, Any]]()
        for rank in range(processes):
            note = Path(notes, f"{rank}.json")  # a killed one leaves none
            told.append(json.loads(note.read_text()) if note.exists() else {"events": 0, "modules": []})
        if not any(statuses):
            _load(told[0]["modules"])
        return Ended(statuses, [each["events"] for each in told], Path(notes, "said").read_text(), seconds)


def _be(line: list[str], rank: int, processes: int, port: int, notes: Path, blow: Blow, script: str) -> None:
    """Be a process of the run; never returns."""
    said = os.open(notes / "said", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(said, 1)
    os.dup2(said, 2)
    if processes > 1:
        names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
        names |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        os.environ.update({name: str(value) for name, value in names.items()})
    status, count, out = 70, 0, line[line.index("--out") + 1]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if event in EVENTS and any(out in str(each) for each in arguments[:2]):
            count += 1
            if count == blow.event and rank == max(blow.whom, 0):
                os.kill(0 if blow.whom < 0 else os.getpid(), blow.number)  # 0: all processes of the run

    faulthandler.enable(2)
    try:
        from toughen.cli import main

        exec(script, {})
        sys.addaudithook(hook)
        status = main(line)
        (notes / f"{rank}.json").write_text(json.dumps({"events": count, "modules": list(sys.modules)}))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _ends(children: list[int], blow: Blow) -> list[int]:
    """Wait for all processes; where one fails the others are ended, as a launcher does."""
    statuses: dict[int, int] = {}
    began, end, asked = time.monotonic(), float("inf"), False
    hit, all_killed = blow.after is None, blow.whom < 0 and blow.number == signal.SIGKILL
    while len(statuses) < len(children):
        for child in children:
            if child not in statuses:
                ended, status = os.waitpid(child, os.WNOHANG)
                if ended:
                    statuses[child] = os.waitstatus_to_exitcode(status)
        left = [child for child in children if child not in statuses]
        if not hit and time.monotonic() > began + (blow.after or 0):
            hit = True
            for child in left if blow.whom < 0 else {children[blow.whom]} & set(left):
                os.kill(child, blow.number)
        if any(statuses.values()) and not asked:
            asked, end = True, time.monotonic() + PATIENCE
            for child in left:
                os.kill(child, signal.SIGKILL if all_killed else signal.SIGTERM)
        if time.monotonic() > end:
            for child in left:
                os.kill(child, signal.SIGABRT)  # it says where it stood
        time.sleep(0.002)
    return [statuses[child] for child in children]


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _load(names: list[str]) -> None:
    """Load here what a run has loaded, so that its forks need not."""
    for name in names:
        if name not in sys.modules:
            with suppress(Exception), warnings.catch_warnings(action="ignore"):
                importlib.import_module(name)


class Job:
    """One command, killed again and again.

    Args:
        folder: an empty one, for the runs.
        line: arguments of `toughen train`.
        how: events (evenly spread), random (events drawn by a seed), times (drawn too), again (one run, killed many
            times), signals (as random, by SIGUSR1, which asks for a checkpoint).
        kills: how many.
        processes: of the run.
        script: a piece of Python that is run first in each of its processes.
    """

    def __init__(
        self, folder: str, line: list[str], how: str, kills: int, processes: int = 1, script: str = ""
    ) -> None:
        self.folder, self.how, self.kills = Path(folder), how, kills
        self.processes, self.script = processes, script
        self.command = ["train", *line, "--resume", "auto", "--out"]
        self.random = random.Random(f"{line} {how} {processes}")
        whole = self.go(self.folder / "first" / "whole")
        assert not any(whole.statuses), whole.said
        self.expected = content(self.folder / "first" / "whole")
        self.events = whole.events
        # Once more for the time that it takes where everything is loaded.
        timed = how == "times" or processes > 1
        self.seconds = self.go(self.folder / "second" / "whole").seconds if timed else whole.seconds

    def go(self, place: Path, blow: Blow = Blow()) -> Ended:
        return run([*self.command, str(place)], self.processes, blow, self.script)

    def blow(self, number: int) -> Blow:
        """The kill of this number."""
        whom = self.random.randrange(-1, self.processes) if self.processes > 1 else 0
        whom = -1 if self.how == "signals" else whom
        if self.how == "events":
            most = self.events[0] - 1
            place = most // 2 if self.kills == 1 else 1 + number * most // (self.kills - 1)
            return Blow(event=place, whom=whom)
        if self.how == "times" or whom > 0:  # the others look at the folder in the end alone
            return Blow(after=self.random.uniform(0, self.seconds), whom=whom)
        if self.how == "again":
            return Blow(event=self.random.randint(5, 100), whom=whom)
        kind = signal.SIGUSR1 if self.how == "signals" else signal.SIGKILL
        return Blow(kind, event=self.random.randint(1, self.events[0]), whom=whom)

    def carry_out(self) -> list[dict[str, Any]]:
        """What came of each kill."""
        found = []
        if self.how == "again":
            place = self.folder / "again" / "whole"
            ends = [self.go(place, self.blow(number)).statuses for number in range(self.kills)]
            found.append({"kills": sum(-signal.SIGKILL in each for each in ends), **self.finished(place)})
        else:
            for number in range(self.kills):
                place, blow = self.folder / str(number) / "whole", self.blow(number)
                hit = self.go(place, blow)
                found.append({**vars(blow), "hit": hit.statuses, "then": hit.said, **self.finished(place)})
                shutil.rmtree(place.parent)
        return found

    def finished(self, place: Path) -> dict[str, Any]:
        """Let the same command go on to the end, and compare."""
        ended = self.go(place)
        failed = any(ended.statuses)
        found = {} if failed else content(place)
        said = ended.said if failed else ""
        changed = differing(self.expected, found)
        if self.how == "signals":  # what was asked for in between is the checkpoint before the last
            changed = [name for name in changed if not name.startswith("checkpoints/previous")]
        return {"status": ended.statuses, "said": said, "differing": changed, "left": left_over(place)}


if __name__ == "__main__":
    import toughen.commands.train  # noqa: F401 - once, before the forks

    for job in sys.stdin:
        try:
            answer: Any = Job(**json.loads(job)).carry_out()
        except Exception:
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), flush=True)
