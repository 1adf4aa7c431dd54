"""One name, one device, for training and evaluation alike."""

import pytest
import torch

from toughen.errors import InputError
from toughen.hardware.device import find_device


def test_names() -> None:
    assert find_device("cpu") == torch.device("cpu")
    assert find_device("auto") == torch.device("cuda" if torch.cuda.is_available() else "cpu")
    assert find_device(torch.device("cpu")) == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "meta2", "meta", ""])
def test_an_unusable_device_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=rf"--device: expected auto, cpu, .*, got '{name}', which cannot be used: "):
        find_device(name)
