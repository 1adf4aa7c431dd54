"""A run's network as it trains, with its method and images: what is looked at, not what is reported."""

from itertools import islice
from typing import Any

from toughen.analysis.explanation import Training
from toughen.commands.train import DEFAULTS, train
from toughen.commands.trainings.assemble import ready
from toughen.commands.trainings.settings import restore, with_data_facts
from toughen.data import ImageSet
from toughen.errors import RunError
from toughen.run import RunFolder
from toughen.settings.signature import settings_of
from toughen.training.checkpoint import checkpoints, load_state


def as_trained(folder: RunFolder, training_set: ImageSet, device: str, batches: int) -> Training | None:
    """The network of a run's last checkpoint, in its method's hands; None where the run has no checkpoint.

    Args:
        folder: the run's; nothing in it is changed.
        training_set: its images, with its order of classes.
        device: where it is computed.
        batches: how many batches, as the run would draw them next.

    Raises:
        RunError: the checkpoint is damaged, or does not fit the configuration.
    """
    if not checkpoints(folder.checkpoint):
        return None
    known = {name: setting for name, setting in settings_of(train).items() if name in DEFAULTS}
    settings: dict[str, Any] = {**DEFAULTS, **restore(folder.read_config(), known, folder.config)}
    settings |= {"device": device, "workers": 0}
    trainer = ready(folder, with_data_facts(settings, training_set), training_set)
    state, updates = load_state(folder.checkpoint), trainer.updates
    try:
        updates.model.load_state_dict(state["model"])
        updates.method.load_state_dict(state["method"])
    except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise RunError(
            f"the checkpoint in {folder.checkpoint} does not fit the configuration in {folder.config}: {error}"
        ) from error
    loader = trainer.batches.train
    loader.start(int(state["epoch"]), 0)
    return Training(updates.model, updates.method, list(islice(loader, batches)), updates.method.guides())
