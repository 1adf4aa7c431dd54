"""Every reader and the command line, given files and words that are mutated: they know documented errors only.

A few thousand inputs each time, more than 100,000 in the nightly run, which prints how many of each reader. The same
seeds give the same inputs.
"""

import json
import signal
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from time import process_time
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mutate import mutated
from readers import READERS, undrawn

from commands import command_line
from commands import read as read_command
from toughen.errors import ToughenError
from toughen.hardware.memory import forget_peak_memory, peak_memory
from toughen.reading.result import check_result
from toughen.reading.schema import UnfitError
from toughen.reading.yaml_text import load_yaml

FEW = {
    **dict.fromkeys(("weights", "exported", "metrics", "labels", "checkpoint", "images", "tiny", "npz", "idx"), 200),
    **{
        "recipe": 120,
        "config": 60,
        "result": 60,
        "report": 60,
        "evaluations": 40,
        "parts": 60,
        "parquet": 100,
        **{"drawn": 60, "tables": 60, "tar": 100, "saved": 40},
    },
}
"""Inputs each time: as many as a second or less of the processor allows."""
MANY = 7000
CPU = torch.device("cpu")


@contextmanager
def quickly(seconds: int = 10) -> Iterator[None]:
    """Raise where what is inside takes longer, of the processor, or ten times that where it waits."""

    def late(*_: Any) -> None:
        raise TimeoutError(f"{seconds} s are over")

    before = [signal.signal(each, late) for each in (signal.SIGPROF, signal.SIGALRM)]
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, 10 * seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for each, handler in zip((signal.SIGPROF, signal.SIGALRM), before, strict=True):
            signal.signal(each, handler)


def outcome(read: Callable[[], object]) -> str:
    """Whether something was read or refused by a documented error; any other error is passed on."""
    with quickly(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            read()
        except ToughenError:
            return "refused"
    return "read"


def fuzz(name: str, inputs: int, place: Path) -> Counter[str]:
    """Give a reader so many mutated files, one at a time; the counts of `outcome`."""
    reader, random, counts = READERS[name], Random(name), Counter[str]()
    place.mkdir()
    reader.make(place)
    for manifest in place.rglob("manifest.json"):
        manifest.unlink()  # a stranger's run has none, or one that fits
    assert outcome(lambda: reader.read(place)) == "read"
    sound = {path: path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file()}
    chosen = sorted({path for pattern in reader.files for path in place.glob(pattern)} & sound.keys())
    forget_peak_memory(CPU)
    before = peak_memory(CPU)
    for number in range(inputs):
        path = random.choice(chosen)
        content = mutated(sound[path], path.suffix, random)
        path.write_bytes(content)
        try:
            counts[outcome(lambda: reader.read(place))] += 1
        except BaseException as error:
            error.add_note(f"input {number} of {name}: {path.name}, {content[:2000]!r}")
            raise
        for each in place.rglob("*"):
            if each.is_file() and each not in sound:
                each.unlink()
        for each, whole in sound.items():
            if not each.is_file() or each.read_bytes() != whole:
                each.parent.mkdir(parents=True, exist_ok=True)
                each.write_bytes(whole)
    assert peak_memory(CPU) - before < 500e6
    return counts


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working folder, which stays empty, beside which nothing but a folder `given` may come to be."""
    undrawn(monkeypatch)
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    yield tmp_path / "given"
    assert not any((tmp_path / "cwd").iterdir())
    assert {path.name for path in tmp_path.iterdir()} <= {"cwd", "given"}


@pytest.mark.parametrize("name", READERS)
def test_a_few_mutated_files(name: str, here: Path) -> None:
    assert fuzz(name, FEW[name], here).total() == FEW[name]


@pytest.mark.nightly
@pytest.mark.parametrize("name", READERS)
def test_many_mutated_files(name: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    began = process_time()
    counts = fuzz(name, MANY, here)
    with capsys.disabled():  # on stderr, which xdist's workers share with it
        seconds = process_time() - began
        print(f"\n{name}: {counts.total():,} inputs, {dict(counts)}, {seconds:.0f} s", file=sys.stderr)
    assert min(counts["read"], counts["refused"]) > 0


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where plain data has entries; of a list its first item stands for all."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield (*at, key)
        yield from places(inner, (*at, key))


@pytest.mark.nightly
def test_whatever_a_result_may_lack_it_is_read_without(here: Path) -> None:
    """Every entry that an older version did not write, one at a time."""
    here.mkdir()
    READERS["result"].make(here)
    for manifest in here.rglob("manifest.json"):
        manifest.unlink()
    path, lacked = here / "run" / "result.json", []
    sound = path.read_text()
    for place in places(json.loads(sound)):
        tree = json.loads(sound)
        holder = tree
        for key in place[:-1]:
            holder = holder[key]
        del holder[place[-1]]
        try:
            check_result(tree)
        except UnfitError:
            continue
        path.write_text(json.dumps(tree))
        lacked.append(place)
        for name in ("result", "report"):
            assert outcome(lambda name=name: READERS[name].read(here)) in ("read", "refused"), place
    assert ("data", "n_total") in lacked and ("analyses", "minimum_norm", "median") in lacked


@pytest.mark.parametrize("inputs", [800, pytest.param(20_000, marks=pytest.mark.nightly)])
def test_mutated_command_lines(inputs: int, here: Path) -> None:
    random, counts = Random("words"), Counter[str]()
    for _ in range(inputs):
        words = command_line(random)
        try:
            counts[outcome(lambda words=words: read_command(words))] += 1
        except BaseException as error:
            error.add_note(f"toughen {words!r:.2000}")
            raise
    assert counts["refused"] > counts["read"] > 0


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
NAMES = st.sampled_from(
    ("robust_accuracy", "figures", "attacks", "data", "threat", "analyses", "schema", "n", "checks")
)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(st.dictionaries(NAMES, VALUES) | VALUES)
def test_whatever_json_says_it_is_no_result(value: Any) -> None:
    with pytest.raises(UnfitError):
        check_result(value)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(st.text(st.sampled_from("ab01:-[]{},&*!?|>'\"#%@~<. \n\t\x00é"), max_size=40))
def test_whatever_a_text_is_it_is_yaml_or_not(text: str) -> None:
    outcome(lambda: load_yaml(text))
