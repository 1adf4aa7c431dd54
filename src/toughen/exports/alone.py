"""A saved network asked in a process of its own that has PyTorch and cannot have this package."""

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

from toughen.errors import RunError

_PROGRAM = """
import sys
sys.modules["toughen"] = None  # an import of it fails, wherever it is installed
import numpy, torch
path, images, logits = sys.argv[1:]
torch.set_num_threads({threads})
network = {network}
images = torch.from_numpy(numpy.load(images))
with torch.no_grad():
    parts = [network(part) for part in (images[:1], *images[1:].split(64)) if len(part)]
numpy.save(logits, torch.cat(parts).numpy())
"""
"""The first image goes alone, which shows that the batch is free."""


def logits_of(path: Path, images: Tensor, network: str) -> Tensor:
    """What the saved network gives for these images.

    Args:
        path: the file.
        images: N x C x H x W.
        network: the expression that reads it.

    Raises:
        RunError: it cannot be read, or cannot take the images, with what PyTorch said.
    """
    with TemporaryDirectory() as folder:
        given, found = Path(folder, "images.npy"), Path(folder, "logits.npy")
        np.save(given, images.numpy())
        program = _PROGRAM.format(network=network, threads=torch.get_num_threads())
        # -I: neither the working folder nor PYTHONPATH.
        command = [sys.executable, "-I", "-W", "ignore", "-c", program, str(path.absolute()), str(given), str(found)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            said = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
            raise RunError(
                f"the exported file cannot be used in PyTorch without toughen: {said:.300}; export another format"
            )
        return torch.from_numpy(np.load(found))
