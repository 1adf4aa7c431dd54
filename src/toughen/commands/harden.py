"""An existing network and images in, a hardened network out."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from toughen.commands.train import train
from toughen.commands.trainings.trained import Trained
from toughen.contracts import check_arguments
from toughen.data import DataSource, images_at
from toughen.errors import InputError
from toughen.methods import Method
from toughen.methods.trades import TRADES
from toughen.training import SGD, GrowingEps, MakeOptimizer


def harden(
    model: nn.Module | Callable[..., nn.Module],
    data: DataSource | str | Path,
    *,
    method: Method = TRADES(),
    epochs: int = 10,
    optimizer: MakeOptimizer = partial(SGD, lr=0.02),
    attack_eps: GrowingEps | None = GrowingEps(),
    **settings: Any,
) -> Trained:
    """Fine-tune a network that was trained before, so that it withstands adversarial examples.

    This is `train` with settings for a network that begins with weights and without robustness: few epochs, a low
    learning rate, and a ball that grows over the first half of the run.

    Args:
        model: the network with its weights, as it sees images in [0, 1] (a normalisation inside); it stays as it is.
            Or a class of networks, with `init` its file of weights.
        data: a source of images, or the path of one's own: a folder a class, a table, shards.
        method: how it is trained.
        epochs: passes over the training images.
        optimizer: its learning rate is a fifth of that for training from scratch.
        attack_eps: the growth of the ball; None for all of eps from the start.
        **settings: any other of `train`, such as threat, freeze, body_rate, out.

    Returns:
        Trained: folder, network and evaluation.

    Raises:
        ToughenError: a setting, the data or the run folder is not usable; the message says what to do.
    """
    given: dict[str, Any] = {
        "model": model,
        "epochs": epochs,
        "optimizer": optimizer,
        "method": method,
        "attack_eps": attack_eps,
    }
    source = images_at(data) if isinstance(data, str | Path) else data
    check_arguments(train, given | {"data": source})
    if not isinstance(model, nn.Module) and settings.get("init") in (None, "random"):
        raise InputError(
            "harden: expected a network with its weights, got a class of networks; give an instance, or init with its "
            "file of weights (toughen.train begins without any)"
        )
    return train(**given, data=source, **settings)
