"""Tasks that are claimed one by one."""

from collections.abc import Iterator
from pathlib import Path

from toughen.run.queue import claimed


def test_a_task_that_was_ended_while_it_was_looked_for_is_not_done_again(tmp_path: Path) -> None:
    """Its worker ends it after the list of what is left was made, and before its lock is tried."""
    done: set[str] = set()

    def left() -> Iterator[str]:
        for task in [each for each in "abc" if each not in done]:
            done.add("a")
            yield task

    with claimed(tmp_path, left, str, lambda task: task not in done) as task:
        assert task == "b"
        assert [path.name for path in tmp_path.iterdir()] == [".b.lock"]
    assert not list(tmp_path.iterdir())


def test_nothing_is_claimed_where_nothing_is_left(tmp_path: Path) -> None:
    with claimed(tmp_path, lambda: iter("ab"), str, lambda task: False) as task:
        assert task is None
