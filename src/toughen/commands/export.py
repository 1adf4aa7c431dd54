"""Write a run's network to a file that others read, and check the file in what will run it."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from toughen.commands.evaluations.subject import subject_in_files
from toughen.contracts import check_arguments, check_choice
from toughen.errors import DataError, InputError, RunError, ToughenWarning
from toughen.exports.agreement import Agreement, Shown, compare_file
from toughen.exports.facts import facts_of
from toughen.exports.formats import ENDINGS, Format, form, put_into_file
from toughen.exports.images import attacked_anew, evaluated_images, kept_images, shape_of_images
from toughen.models.load import LoadedClassifier, load
from toughen.numbers import check_number
from toughen.run import RunFolder, atomic
from toughen.run.hub import is_on_hub, repository, run_folder
from toughen.settings.trust import obeying_trust

_ATTACKED = 32
"""Images that are attacked anew, at most: 20 steps each."""
_RANDOM = 16


@dataclass(frozen=True)
class Exported:
    """What `export` gives back.

    Attributes:
        path: the file.
        format: its format.
        agreement: how it agrees with the run's network.
    """

    path: Path
    format: Format
    agreement: Agreement

    def __repr__(self) -> str:
        return f"Exported({self.path}; {self.agreement})"


@obeying_trust
def export(
    run: str,
    *,
    format: Format = "onnx",
    out: str | None = None,
    check_images: int = 256,
    overwrite: bool = False,
    trust: Sequence[str] = (),
) -> Exported:
    """Write a run's network to a file of its own, and compare the file with it in the file's own runtime.

    The file takes images in [0, 1], any number at once, and gives logits; the normalisation is inside. It names the
    classes, the threat model and the figures. It is shown the images that the run's evaluation kept, clean and
    adversarial, test images, and some of them attacked anew, and must predict what the network does.

    Args:
        run: the run's folder, or hf:ORG/NAME on the hub.
        format: onnx, for onnxruntime and others; torch-export or torchscript, for PyTorch without this package;
            safetensors, the weights with how to build the network, for toughen.load.
        out: the file; default classifier.onnx, .pt2, .ts or .safetensors in the run's folder, of a run on the hub
            NAME.onnx in this one.
        check_images: test images that it is shown, at most; 0 for those alone that the evaluation kept.
        overwrite: replace a file that is there.
        trust: what the run's files may name beside this package's classes and its libraries' networks, such as
            my_package.Net or my_package; their code is run.

    Returns:
        Exported: the file, and how it agrees with the network.

    Raises:
        InputError: a network that cannot be exported so; the file is there already.
        RunError: the file gives other logits than the network; nothing is kept then.
    """
    check_arguments(export, {"run": run, "out": out})
    check_choice("--format", format, Format)
    check_number("--check_images", check_images, least=0, whole=True, such="256")
    folder = run_folder(run)
    place = Path(repository(run)[0]).name if is_on_hub(run) else folder.path / "classifier"
    path = Path(out or f"{place}{ENDINGS[format]}")
    check_free_file(path, overwrite)
    classifier = load(run)
    shown = shown_images(folder, classifier, check_images)
    shape = shape_of_images(classifier, folder)
    shown = shown or [Shown("random", torch.rand(_RANDOM, *shape, generator=torch.Generator().manual_seed(0)))]
    facts = facts_of(classifier, folder, shape, folder.read_config().get("model") if format == "safetensors" else None)
    with atomic(path) as temporary:
        put_into_file(classifier.network, shape, facts, format, temporary)
        found = compare_file(temporary, form(format), classifier.network, shown)
    if not found.agrees:
        why = "rounding turned some predictions" if found.turned else "some predictions are not as recorded"
        warnings.warn(f"{why}: {found}", ToughenWarning, 2)
    return Exported(path, format, found)


def check_free_file(path: Path, overwrite: bool) -> None:
    """Raise where a file would be replaced that nobody asked to replace.

    Raises:
        InputError: it is there, and `overwrite` is not set; or a folder of this name.
    """
    if path.is_dir():
        raise InputError(f"--out: {path} is a folder; expected the name of a file")
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists; replace it (--overwrite), or give another --out")


def shown_images(folder: RunFolder, classifier: LoadedClassifier, most: int) -> list[Shown]:
    """What the file is shown: what the evaluation kept, and as far as the data can be read, test images.

    A `ToughenWarning` says where they cannot.
    """
    shown = kept_images(folder)
    if not most:
        return shown
    try:
        subject = subject_in_files(folder.path, None, None, None, None, None, None, None)
        clean = evaluated_images(folder, subject.images, most)
    except (DataError, RunError, InputError) as error:
        warnings.warn(f"the file is not shown the run's test images, which cannot be read: {error}", ToughenWarning, 3)
        return shown
    return [*shown, clean, attacked_anew(classifier.network, clean, subject.threat, _ATTACKED)]
