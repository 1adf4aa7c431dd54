"""Extra images are part of the data that a run was begun with."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from toughen import train
from toughen.data import ExtraImages
from toughen.errors import RunError
from toughen.models import SmallCNN


def test_a_run_whose_extra_images_have_changed_is_not_gone_on_with(tmp_path: Path) -> None:
    images, labels = np.zeros((30, 8, 8, 1), np.uint8), np.arange(30) % 10
    np.savez(tmp_path / "more.npz", image=images, label=labels)
    small = {"train_images": 60, "val_images": 20, "batch_size": 20, "budget": "none", "trackers": [], "device": "cpu"}
    out, network = str(tmp_path / "a"), partial(SmallCNN, width=4)
    train(model=network, epochs=1, extra=ExtraImages(tmp_path / "more.npz"), out=out, **small)
    train(resume=out)
    images[7, 3, 3] = 1
    np.savez(tmp_path / "more.npz", image=images, label=labels)
    with pytest.raises(RunError, match="extra: "):
        train(resume=out)
