"""Runs of the command line that kill themselves at a chosen event of the file system, and what they leave.

`python killed.py evenly|again FOLDER KILLS LINE...` runs `toughen train LINE --resume auto` to its end, then kills runs
of the same command: one at each of KILLS evenly spread events, or one run KILLS times. The same command then goes on to
the end, and a JSON object says what differs from the first run and what is left over. One interpreter, torch loaded
once: every run is a fork of it, made before torch has a thread of its own.
"""

import csv
import json
import os
import random
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

EVENTS = {"open", "os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.truncate", "shutil.rmtree", "os.listdir"}


def run(line: list[str], kill_at: int = 0) -> tuple[int, int, str]:
    """Run a command in a child that kills itself at an event (0: never); its status, its events, and what it said."""
    with tempfile.TemporaryFile("w+") as said:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
            status = 70
            try:
                out = line[line.index("--out") + 1]
                count = [0]

                def hook(event: str, arguments: tuple[Any, ...]) -> None:
                    if event in EVENTS and any(out in str(each) for each in arguments[:2]):
                        count[0] += 1
                        if count[0] == kill_at:
                            os.kill(os.getpid(), signal.SIGKILL)

                sys.addaudithook(hook)
                from toughen.cli import main

                status = main(line)
                os.write(writer, str(count[0]).encode())
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
        os.close(writer)
        events = int(os.read(reader, 20) or 0)
        os.close(reader)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        said.seek(0)
        return status, events, said.read()


TIMES = {
    *("seconds", "created", "images_per_second", "flops_per_second", "share_of_peak"),
    *("peak_memory_bytes", "device_hours"),
}


def without_times(value: Any) -> Any:
    """Plain data without what is another in every run."""
    if isinstance(value, dict):
        return {name: without_times(item) for name, item in value.items() if name not in TIMES}
    return [without_times(item) for item in value] if isinstance(value, list) else value


def content(folder: Path) -> dict[str, Any]:
    """What a run's folder holds, file by file, without times."""
    import pyarrow.parquet as pq
    from safetensors.torch import load_file

    found: dict[str, Any] = {}
    for file in sorted(folder.rglob("*")):
        name = str(file.relative_to(folder))
        if name.startswith("checkpoints/previous"):
            continue  # a run that went on from it has the same one twice
        if file.is_dir() or file.name == "manifest.json":
            found[name] = None
        elif file.name == "metrics.csv":
            with file.open(newline="") as lines:
                found[name] = [
                    {key: value for key, value in row.items() if key not in TIMES} for row in csv.DictReader(lines)
                ]
        elif file.name == "state.json":
            found[name] = json.loads(file.read_text()).keys()
        elif file.suffix == ".json":
            found[name] = without_times(json.loads(file.read_text()))
        elif file.suffix == ".safetensors":
            found[name] = {key: tensor.numpy().tobytes() for key, tensor in load_file(file).items()}
        elif file.suffix == ".parquet":
            found[name] = pq.read_table(file).to_pydict()
        elif file.suffix == ".html":
            found[name] = file.read_text().count("<section")
        else:
            found[name] = file.read_bytes()
    return found


def differing(expected: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Names of files that are missing, left over or have another content."""
    return sorted(name for name in expected | found if expected.get(name, 0) != found.get(name, 0))


def left_over(folder: Path) -> list[str]:
    """Files and folders that did not get their name, and locks."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob(".*"))


def kill_evenly(folder: Path, kills: int, command: list[str], expected: dict[str, Any], events: int) -> None:
    """Kill a run at each of so many events, let the same command go on, and print what came of it."""
    for number in range(kills):
        at = events // 2 if kills == 1 else 1 + number * (events - 1) // (kills - 1)
        place = folder / str(number) / "whole"
        killed, _, _ = run([*command, str(place)], at)
        status, _, said = run([*command, str(place)])
        found = content(place) if status == 0 else {}
        facts = {"at": at, "killed": killed, "status": status, "said": said if status else ""}
        print(json.dumps({**facts, "differing": differing(expected, found), "left": left_over(place)}), flush=True)
        shutil.rmtree(place.parent)


def kill_again_and_again(folder: Path, kills: int, command: list[str], expected: dict[str, Any]) -> None:
    """Kill one run so many times, after a few events each, then let it go on to its end."""
    place, events = folder / "again" / "whole", random.Random(0)
    killed = sum(run([*command, str(place)], events.randint(5, 100))[0] == -signal.SIGKILL for _ in range(kills))
    status, _, said = run([*command, str(place)])
    found = content(place) if status == 0 else {}
    facts = {"kills": killed, "status": status, "said": said if status else ""}
    print(json.dumps({**facts, "differing": differing(expected, found), "left": left_over(place)}), flush=True)


def main_of_all(how: str, folder: Path, kills: int, line: list[str]) -> None:
    """See the module."""
    import toughen.commands.train  # noqa: F401 - once, before the forks

    command = ["train", *line, "--resume", "auto", "--out"]
    status, events, said = run([*command, str(folder / "whole")])
    assert status == 0, said
    expected = content(folder / "whole")
    if how == "evenly":
        kill_evenly(folder, kills, command, expected, events)
    else:
        kill_again_and_again(folder, kills, command, expected)


if __name__ == "__main__":
    main_of_all(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
