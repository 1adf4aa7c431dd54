"""Run folders as training and evaluation leave them, and a reader of pages."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from html_page import Page, check_self_contained
from run_files import write_evaluation, write_gallery, write_training
from studies import studies

from toughen.run import RunFolder

MakeRun = Callable[..., RunFolder]


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """See `maker`."""
    return maker(tmp_path)


@pytest.fixture(scope="session")
def studied_run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run that was trained, and evaluated with every study. Not to be changed."""
    return maker(tmp_path_factory.mktemp("studied"))(studied=True)


def maker(place: Path) -> MakeRun:
    """A function that makes a run folder; changes replace entries of result.json, which `studied` adds to."""

    def make(
        name: str = "trades",
        *,
        method: str = "TRADES",
        epochs: int = 30,
        evaluated: bool = True,
        n: int = 360,
        seed: int = 0,
        strength: float = 1.0,
        studied: bool = False,
        **changes: Any,
    ) -> RunFolder:
        folder = RunFolder(place / "runs" / name)
        folder.create()
        if epochs:
            write_training(folder, epochs, method)
        if evaluated:
            added = studies() | changes if studied else changes
            write_evaluation(folder, n=n, seed=seed, strength=strength, **added)
        return folder

    return make


@pytest.fixture
def fill_gallery() -> Callable[..., None]:
    """A function that replaces a run's gallery; see `write_gallery`."""
    return write_gallery


@pytest.fixture
def make_studies() -> Callable[..., dict[str, Any]]:
    """A function that makes the facts of every study; see `studies`."""
    return studies


@pytest.fixture
def read_page() -> type[Page]:
    """Reads HTML, or a fragment of it."""
    return Page


@pytest.fixture
def self_contained() -> Callable[[str], Page]:
    """Reads a whole page and checks what holds for every one; see `check_self_contained`."""
    return check_self_contained
