"""Everything that a run has changed since its start, and taking it up again."""

import warnings
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import gather_object
from torch import Tensor

from toughen.errors import RunError, ToughenWarning
from toughen.training.checkpoint import GlobalRandomness, load_state

if TYPE_CHECKING:
    from toughen.training.loop import Trainer


def state_of(run: "Trainer") -> dict[str, Any]:
    """The run's place and everything that has changed since its start. All processes must call it together."""
    averaged = run.updates.averaged
    return {
        "epoch": run.epoch,
        "batch": run.batch,
        "best": run.best,
        "seconds": run.seconds,
        "cost": run.meter.state_dict(),
        "split": split_digest(run),
        "model": run.model.state_dict(),
        "method": run.method.state_dict(),
        "optimizer": run.updates.optimizer.state_dict(),
        "averaged": None if averaged is None else averaged.state_dict(),
        "processes": gather_object([_on_cpu(_own_state(run))]),
    }


def go_on(run: "Trainer") -> None:
    """Bring a run that has not begun to where its folder's checkpoint was saved.

    Raises:
        RunError: there is none, it is damaged, or it belongs to another architecture or method, or to other training
            and validation images.
    """
    state = load_state(run.folder.checkpoint)
    if state.get("split") != split_digest(run):
        raise RunError(
            f"the checkpoint in {run.folder.checkpoint} is of other training and validation images than are drawn now: "
            "another version of toughen began the run, or its data changed. Going on would train on images that "
            "validation holds out; go on with the version that began it, or start it again with --overwrite"
        )
    try:
        run.model.load_state_dict(state["model"])
        run.method.load_state_dict(state["method"])
        run.updates.optimizer.load_state_dict(state["optimizer"])
        if run.updates.averaged is not None:
            run.updates.averaged.load_state_dict(state["averaged"])
        run.meter.load_state_dict(state["cost"])
        run.epoch, run.batch = state["epoch"], state["batch"]
        run.best, run.seconds = state["best"], state["seconds"]
        own = state["processes"]
    except (RuntimeError, ValueError, KeyError) as error:
        raise RunError(
            f"the checkpoint in {run.folder.checkpoint} does not fit the configuration in {run.folder.config}: {error}"
        ) from error
    if len(own) != run.accelerator.num_processes:
        _warn(f"the run had {len(own)} processes and goes on with {run.accelerator.num_processes}")
    # A process that the run did not have before draws from its fresh generators.
    if run.accelerator.process_index < len(own):
        _restore(run, own[run.accelerator.process_index])


def split_digest(run: "Trainer") -> str:
    """SHA-256 of the places of the run's training and validation images in their set (int64, little endian).

    The seed does not fix them: they depend on the labels, and on how a version of toughen draws.
    """
    held_out = [batch.indices.cpu() for batch in run.validation if batch.indices is not None]
    parts = (run.train.indices, torch.cat(held_out))
    return sha256(b"|".join(part.numpy().astype("<i8").tobytes() for part in parts)).hexdigest()


def _own_state(run: "Trainer") -> dict[str, Any]:
    """What each process has for itself."""
    return {
        "sums": run.sums.state_dict(),
        "generators": {name: generator.get_state() for name, generator in run.generators.items()},
        "global": GlobalRandomness.state_dict(),
        "buffers": _own_buffers(run),
    }


def _own_buffers(run: "Trainer") -> dict[str, Tensor]:
    """Buffers that differ between processes after a step: BatchNorm's statistics of their own images."""
    if run.accelerator.num_processes == 1:
        return {}
    of_method = {name: buffer for name, buffer in run.method.named_buffers() if name not in run.method.memories}
    both = {"model": dict(run.model.named_buffers()), "method": of_method}
    return {f"{part}.{name}": buffer for part, buffers in both.items() for name, buffer in buffers.items()}


def _restore(run: "Trainer", own: dict[str, Any]) -> None:
    run.sums.load_state_dict(own["sums"], run.accelerator.device)
    GlobalRandomness.load_state_dict(own["global"])
    for name, buffer in _own_buffers(run).items():
        if name in own["buffers"]:
            buffer.copy_(own["buffers"][name])
    for name, generator in run.generators.items():
        try:
            generator.set_state(own["generators"][name])
        except RuntimeError:  # the state of another kind of generator
            _warn(f"the run goes on on another kind of device, {generator.device}")


def _warn(what: str) -> None:
    warnings.warn(f"{what}: its random numbers from here on are not those of a run without a pause", ToughenWarning, 3)


def _on_cpu(state: Any) -> Any:
    """The same nested dicts with every tensor on the CPU, where processes can exchange them."""
    if isinstance(state, dict):
        return {name: _on_cpu(value) for name, value in state.items()}
    return state.cpu() if isinstance(state, Tensor) else state
