"""The images that an exported file is shown: those that an evaluation kept, its test images, and some attacked anew."""

import torch
from torch import nn

from toughen.attacks.pgd import PGD
from toughen.data.source import ImageSet
from toughen.errors import RunError
from toughen.evaluation.gallery import read_gallery
from toughen.evaluation.records.verdicts import Verdicts
from toughen.exports.agreement import Shown
from toughen.models.inference import frozen
from toughen.models.load import LoadedClassifier
from toughen.reading.files import readable
from toughen.run import RunFolder
from toughen.run.manifest import check
from toughen.threat import ThreatModel

_ADVICE = "evaluate the run again, or delete the file"


def kept_images(folder: RunFolder) -> list[Shown]:
    """The images of a run's gallery, clean and as the attacks left them, with what was predicted then.

    Raises:
        RunError: it is damaged.
    """
    if not folder.gallery.exists():
        return []
    check(folder.gallery, _ADVICE)
    with readable(folder.gallery, _ADVICE):
        kept = read_gallery(folder.gallery)
    if not len(kept["clean"]):
        return []
    return [
        Shown(f"saved {name}", kept[name], kept["labels"], kept[f"{name}_predictions"])
        for name in ("clean", "adversarial")
    ]


def shape_of_images(classifier: LoadedClassifier, folder: RunFolder) -> tuple[int, int, int]:
    """Channels, height and width of the images that a network takes; of runs of before that was kept, by those kept.

    Raises:
        RunError: nothing says it.
    """
    if classifier.shape is not None:
        return classifier.shape
    kept = kept_images(folder)
    if not kept:
        raise RunError(
            f"{folder.path} does not say what images its network takes; evaluate it, or write {folder.input} with "
            '{"shape": [channels, height, width]}'
        )
    channels, height, width = kept[0].images.shape[1:]
    return channels, height, width


def evaluated_images(folder: RunFolder, images: ImageSet, most: int) -> Shown:
    """The first images of the headline evaluation, else of the test set, with what was predicted for them.

    Raises:
        RunError: the verdicts are damaged, or of other images than these.
    """
    if not folder.verdicts.exists():
        chosen = torch.arange(min(most, len(images)))
        return Shown("clean", *images.subset(chosen))
    table = Verdicts.read(folder.verdicts).table.slice(0, most)
    chosen, recorded = (torch.tensor(table[name].to_pylist()) for name in ("index", "clean_prediction"))
    if len(chosen) and int(chosen.max()) >= len(images):
        raise RunError(f"{folder.verdicts} is of more images than {images.name} has; {_ADVICE}")
    return Shown("clean", *images.subset(chosen), recorded)


def attacked_anew(network: nn.Module, clean: Shown, threat: ThreatModel, most: int) -> Shown:
    """Some of the images under PGD-20 on the network, so that the file is shown what lies behind its borders."""
    assert clean.labels is not None
    few, labels = clean.images[:most], clean.labels[:most]
    attack = PGD(steps=20)
    with frozen(network, few.device) as still:
        generator = torch.Generator(few.device).manual_seed(0)
        return Shown("fresh PGD-20", attack.run(still, few, labels, threat, generator).adversarial, labels)
