"""Run folders as training and evaluation leave them, and a reader of pages."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from html_page import Page, check_self_contained
from made_runs import MakeRun, maker
from run_files import write_gallery
from studies import studies

from toughen.run import RunFolder


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """See `maker`."""
    return maker(tmp_path)


@pytest.fixture(scope="session")
def studied_run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run that was trained, and evaluated with every study. Not to be changed."""
    return maker(tmp_path_factory.mktemp("studied"))(studied=True)


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
