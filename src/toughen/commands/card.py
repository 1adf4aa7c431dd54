"""A run's model card."""

from pathlib import Path

from toughen.commands.export import check_free_file
from toughen.contracts import check_arguments
from toughen.reports.card import model_card
from toughen.run import RunFolder, atomic


def card(
    run: str, *, repo: str | None = None, license: str | None = None, out: str | None = None, overwrite: bool = False
) -> str:
    """Say what a run's network is, how far it withstands what, and how it was made: the hub's model card.

    Args:
        run: the run's folder.
        repo: its name on the hub, ORG/NAME, for the commands in the card; default: they are left out.
        license: the licence of the weights, such as apache-2.0; default: the card says nothing.
        out: the file to write, such as README.md; default none.
        overwrite: replace a file that is there.

    Returns:
        str: the card, Markdown under metadata in YAML.

    Raises:
        RunError: no such run, or a damaged file.
        InputError: the file is there already.
    """
    check_arguments(card, {"run": run, "repo": repo, "license": license, "out": out})
    if out is not None:
        check_free_file(Path(out), overwrite)
    text = model_card(RunFolder(run), repo, license)
    RunFolder(run).warn_of_damage()
    if out is not None:
        with atomic(Path(out)) as path:
            path.write_text(text, encoding="utf-8")
    return text
