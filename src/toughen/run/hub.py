"""Runs of the Hugging Face hub: of a repository the files that a run is read from, and no other, in the hub's cache."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from toughen.errors import InputError, RunError, ToughenError
from toughen.extras import library
from toughen.run.folder import RunFolder

PREFIX = "hf:"
READ = (
    *("config.yaml", "classes.json", "input.json", "model.safetensors", "manifest.json"),
    *("result.json", "verdicts.parquet", "metrics.csv", "events.json", "code/*.py", "code/manifest.json"),
)
"""What is downloaded of a repository, where it has it: data, and what is run with `--trust` alone."""


def run_folder(run: str | Path) -> RunFolder:
    """The folder of a run by its path, or by its name on the hub, from which it is downloaded.

    Raises:
        InputError: hf:, and not a repository's name after it.
        RunError: no such repository, none that may be read, or none can be reached.
        ToughenError: huggingface_hub is missing.
    """
    return RunFolder(_downloaded(str(run)) if is_on_hub(run) else run)


def is_on_hub(name: object) -> bool:
    """Whether a run's name is that of a repository of the hub."""
    return isinstance(name, str) and name.startswith(PREFIX)


def repository(name: str) -> tuple[str, str | None]:
    """ORG/NAME and the revision in `hf:ORG/NAME` or `hf:ORG/NAME@REVISION`.

    Raises:
        InputError: it is not so.

    >>> repository("hf:me/digits@v1")
    ('me/digits', 'v1')
    """
    found = re.fullmatch(r"(?:hf:)?([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", name)
    if found is None:
        raise InputError(f"expected a repository such as hf:ORG/NAME or hf:ORG/NAME@REVISION, got {name!r}")
    return found[1], found[2]


def _downloaded(name: str) -> Path:
    repo, revision = repository(name)
    hub = library("huggingface_hub", "hub")
    with asking_hub(f"cannot read {name} from the hub"):
        place = Path(hub.snapshot_download(repo, revision=revision, allow_patterns=list(READ)))
    if not (place / "config.yaml").exists():
        raise RunError(f"{name} holds no run: it has no config.yaml; expected a repository of `toughen push`")
    return place


@contextmanager
def asking_hub(failed: str) -> Iterator[None]:
    """Say what failed, and why, where the hub refuses or cannot be reached.

    Raises:
        RunError: with what to do.
    """
    try:
        yield
    except ToughenError:
        raise
    except Exception as error:  # of the hub's client, and of the HTTP library that it uses, another in each version
        raise RunError(f"{failed}: {_said(error)}") from error


def _said(error: Exception) -> str:
    """The hub's answer in a sentence, with what to do."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return f"it answers {status}: log in with `hf auth login`, or set HF_TOKEN to a token that may do this"
    if status == 404:
        return "no such repository or revision, or a private one: check the name, or log in with `hf auth login`"
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return f"{lines[0].rstrip('.')}; check the network, or HF_ENDPOINT"
