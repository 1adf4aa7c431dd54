"""Files that wait for their disk."""

import shutil
from pathlib import Path

import pytest

from toughen.errors import RunError, ToughenWarning
from toughen.run import RunFolder
from toughen.training.pending import PendingWrites


def test_a_folder_that_vanishes_while_one_file_is_written_takes_no_more(tmp_path: Path) -> None:
    """The write under way makes a new folder of the old name; what follows waits until the run's own is back."""
    folder, elsewhere = RunFolder(tmp_path / "run"), tmp_path / "elsewhere"
    folder.path.mkdir()
    folder.config.write_text("epochs: 1\n")
    pending, written = PendingWrites(folder), []

    def first() -> None:
        folder.path.rename(elsewhere)
        folder.path.mkdir()

    pending.add("metrics", first)
    pending.add("checkpoint", lambda: written.append("checkpoint"))
    with pytest.warns(ToughenWarning, match="has vanished"):
        pending.try_now()
    with pytest.raises(RunError, match="has vanished"):
        pending.insist(0)
    assert written == []
    shutil.rmtree(folder.path)
    elsewhere.rename(folder.path)
    pending.try_now()
    assert written == ["checkpoint"]
