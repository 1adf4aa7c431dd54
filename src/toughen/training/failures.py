"""What a person reads where a training cannot go on, and the command that goes on with it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from toughen.data.loader import killed_worker
from toughen.errors import DataError, DivergedError, RunError
from toughen.hardware.memory import is_out_of_memory
from toughen.run import RunFolder
from toughen.settings.trust import trust_option
from toughen.training.position import Position


def resume_command(folder: RunFolder, config: Any) -> str:
    """The command that goes on with a run of this configuration."""
    return f"toughen train --resume {folder.path}{trust_option(config)}"


@contextmanager
def failures_explained(
    folder: RunFolder, position: Position, device: torch.device, batch_size: int, accumulate: int
) -> Iterator[None]:
    """Say what is to be done where the steps inside fail.

    Raises:
        DataError: a process that decodes images was killed.
        RunError: a step does not fit into memory.
        DivergedError: the run has diverged for good.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            kept = f"; the last checkpoint is kept in {folder.checkpoint}" if folder.checkpoint.exists() else ""
            # In parts BatchNorm would see others, so it is asked for.
            raise RunError(
                f"the memory of {device} does not suffice for a step on {batch_size} images in epoch "
                f"{position.epoch + 1}{kept}. Start again with --batch_size {max(1, batch_size // 2)} --accumulate "
                f"{2 * accumulate}: updates are of as many images, but BatchNorm sees half of them at a time, so that "
                "it is another run; toughen tune-batch finds the largest size that fits"
            ) from error
        killed = killed_worker(error) if isinstance(error, RuntimeError) else None
        if killed is None:
            raise
        command = resume_command(folder, position.begun.get("config"))
        raise DataError(f"{killed}; then go on with: {command}") from error
    except DivergedError as error:
        raise DivergedError(
            f"{error}; the last good checkpoint is kept in {folder.checkpoint}. Lower --optimizer.lr, "
            "or set --clip_grad_norm 1"
        ) from error
