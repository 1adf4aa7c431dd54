"""A run's files on their way to the Hugging Face hub."""

import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from toughen.errors import InputError
from toughen.extras import library
from toughen.run import RunFolder
from toughen.run.hub import READ, asking_hub

CARD = "README.md"


def files_for_hub(folder: RunFolder, card: str, exported: Mapping[str, Path]) -> dict[str, Path | bytes]:
    """What is uploaded, by its name there: the card, the run's files without any image, and exported ones.

    Args:
        folder: the run's.
        card: the text of its model card.
        exported: further files by their name.

    Raises:
        RunError: the run has no network.
    """
    folder.require(folder.config, folder.model)
    own: dict[str, Path | bytes] = {
        file.relative_to(folder.path).as_posix(): file for pattern in READ for file in sorted(folder.path.glob(pattern))
    }
    return {CARD: card.encode(), **own, **exported}


def size_of(content: Path | bytes) -> int:
    """Bytes."""
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def paths_in(value: Any, name: str = "") -> Iterator[str]:
    """The settings of a configuration that name a folder or file of this machine, such as `data.path=/home/me/photos`.

    >>> list(paths_in({"data": {"init_args": {"path": "~/photos", "size": 32}}}))
    ['data.path=~/photos']
    """
    if isinstance(value, dict):
        for key, item in value.items():
            yield from paths_in(item, name if key == "init_args" else f"{name}.{key}".lstrip("."))
    elif isinstance(value, list):
        for item in value:
            yield from paths_in(item, name)
    elif isinstance(value, str) and re.match(r"[/~]|[A-Za-z]:[\\/]", value):
        yield f"{name}={value}"


def upload(
    files: Mapping[str, Path | bytes], repo: str, *, private: bool, revision: str | None, message: str, overwrite: bool
) -> str:
    """Put files into a repository, which is made where there is none, as one commit; its address.

    Raises:
        InputError: some of the files are there already, and `overwrite` is not set.
        RunError: the hub refuses, or cannot be reached.
        ToughenError: huggingface_hub is missing.
    """
    hub = library("huggingface_hub", "hub")
    api = hub.HfApi(library_name="toughen")
    with asking_hub(f"cannot push to {repo}"):
        there = _there(api, repo, revision)
        if (replaced := sorted(there & files.keys())) and not overwrite:
            raise InputError(
                f"{repo} has {', '.join(replaced)} already; replace them (--overwrite; the repository's history "
                "keeps them), or give another name or --revision"
            )
        api.create_repo(repo, private=private or None, exist_ok=True)  # None: as its owner has it
        if revision is not None:
            api.create_branch(repo, branch=revision, exist_ok=True)
        adding = [
            hub.CommitOperationAdd(name, content if isinstance(content, bytes) else str(content))
            for name, content in files.items()
        ]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "It seems that you are about to commit a data file")  # the verdicts
            return str(api.create_commit(repo, adding, commit_message=message, revision=revision).commit_url)


def _there(api: Any, repo: str, revision: str | None) -> set[str]:
    """The files of the repository; none where there is no such repository or branch yet."""
    errors = library("huggingface_hub.errors", "hub")
    try:
        return set(api.list_repo_files(repo, revision=revision))
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError):
        return set()
