"""Put a run on the Hugging Face hub, with its model card."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from toughen.commands.export import export
from toughen.contracts import check_arguments, check_choice
from toughen.errors import InputError, ToughenWarning
from toughen.exports.formats import ENDINGS, Format
from toughen.exports.hub import files_for_hub, paths_in, size_of, upload
from toughen.reports.card import model_card
from toughen.run import RunFolder
from toughen.run.hub import repository
from toughen.settings.trust import obeying_trust


@dataclass(frozen=True)
class Pushed:
    """What `push` gives back.

    Attributes:
        repo: ORG/NAME.
        files: bytes of each file by its name there.
        card: the text of README.md, the model card.
        url: the commit's address; None for a dry run.
    """

    repo: str
    files: dict[str, int]
    card: str
    url: str | None


@obeying_trust
def push(
    run: str,
    repo: str,
    *,
    private: bool = False,
    revision: str | None = None,
    message: str | None = None,
    license: str | None = None,
    formats: list[Format] = [],  # noqa: B006 - never changed
    overwrite: bool = False,
    dry_run: bool = False,
    trust: Sequence[str] = (),
) -> Pushed:
    """Put a run on the Hugging Face hub, with its model card, so that toughen.load("hf:ORG/NAME") reads it.

    It is the run's configuration, weights, classes, figures and verdicts, and no image. The hub is asked with the token
    of `hf auth login` or HF_TOKEN.

    Args:
        run: the run's folder.
        repo: the repository, ORG/NAME; made where there is none.
        private: make it a private one; default: what its owner has by default.
        revision: the branch; default main. Made where there is none.
        message: of the commit.
        license: the licence of the weights in the card, such as apache-2.0; default: the card says nothing.
        formats: exported files to put beside, such as onnx,torch-export; each is checked first.
        overwrite: replace files that the repository has already.
        dry_run: only say what would be uploaded, and ask the hub nothing.
        trust: what the run's files may name beside this package's classes and its libraries' networks, such as
            my_package.Net or my_package; their code is run.

    Returns:
        Pushed: what was uploaded, and where it is.

    Raises:
        InputError: not a repository's name; the repository has these files already.
        RunError: no such run; the hub refuses, or cannot be reached.
    """
    check_arguments(push, {"run": run, "repo": repo, "revision": revision, "message": message, "license": license})
    for form in formats:
        check_choice("--formats", form, Format)
    repo, at = repository(repo)
    if at is not None:
        raise InputError(f"repo: expected ORG/NAME, got {repo}@{at}; give the branch as --revision {at}")
    folder = RunFolder(run)
    card = model_card(folder, repo, license)
    folder.warn_of_damage()
    for setting in paths_in(folder.read_config()):
        warnings.warn(f"config.yaml, which is uploaded, names a place on this machine: {setting}", ToughenWarning, 3)
    with TemporaryDirectory() as place:
        exported = {}
        for each in formats:
            path = Path(place, f"classifier{ENDINGS[each]}")
            exported[path.name] = export(run, format=each, out=str(path), trust=trust).path
        files = files_for_hub(folder, card, exported)
        sizes = {name: size_of(content) for name, content in files.items()}
        url = None
        if not dry_run:
            said = message or f"{folder.name} by toughen"
            url = upload(files, repo, private=private, revision=revision, message=said, overwrite=overwrite)
    return Pushed(repo, sizes, card, url)
