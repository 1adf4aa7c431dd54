"""What a launcher may ask of a run."""

from pathlib import Path

import pytest
import torch

from toughen.errors import InputError
from toughen.run import RunFolder
from toughen.training import make_accelerator


@pytest.mark.parametrize("name", ["FSDP", "DEEPSPEED"])
def test_weights_that_are_shared_out_are_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"ACCELERATE_USE_{name}", "true")
    with pytest.raises(InputError, match=f"asked for {name}, and toughen train has whole weights"):
        make_accelerator("fp32", torch.device("cpu"), [], RunFolder(tmp_path))
