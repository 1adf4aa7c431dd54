"""A network whose weights cannot be meant is refused before it takes memory."""

from functools import partial
from pathlib import Path

import pytest
import timm
import torch
import torchvision
import yaml

from toughen import load, train
from toughen.errors import InputError
from toughen.hardware.memory import forget_peak_memory, peak_memory
from toughen.models import SmallCNN, build_model
from toughen.settings.size import check_size

CPU = torch.device("cpu")


def test_a_network_larger_than_memory_is_refused_before_it_is_built() -> None:
    forget_peak_memory(CPU)
    before = peak_memory(CPU)
    facts = {"num_classes": 10, "in_channels": 1, "mean": [0.5], "std": [0.3]}
    # 18 w^2 + 36 w^2 weights of 4 bytes, and what grows with w alone.
    with pytest.raises(InputError, match=r"weights of 8\d,\d\d\d\.\d MB, and .* of memory are free"):
        build_model(partial(SmallCNN, width=20_000), **facts)
    with pytest.raises(InputError, match="cannot be built"):
        build_model(partial(SmallCNN, width=10**9), **facts)
    assert peak_memory(CPU) - before < 50e6


def test_global_randomness_is_left() -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    check_size(SmallCNN, {"width": 4})
    assert torch.equal(torch.rand(1), expected)


def test_a_run_whose_network_is_not_that_of_its_weights_is_refused_at_once(tmp_path: Path) -> None:
    small = {"train_images": 60, "val_images": 20, "batch_size": 20, "budget": "none", "trackers": [], "device": "cpu"}
    run = train(model=partial(SmallCNN, width=4), epochs=1, out=str(tmp_path / "a"), **small).folder
    load(run.path)
    config = yaml.safe_load(run.config.read_text())
    config["model"]["init_args"]["width"] = 1000
    run.config.write_text(yaml.safe_dump(config))
    (run.path / "manifest.json").unlink(missing_ok=True)
    with pytest.raises(InputError, match="do not belong together"):
        load(run.path)


def test_a_whole_number_that_no_float_holds_is_no_setting() -> None:
    with pytest.raises(InputError, match="at most 9,007,199,254,740,992"):
        train(epochs=10**30)


@pytest.mark.parametrize("given", [{"weights": "DEFAULT"}, {"weights": "IMAGENET1K_V2", "num_classes": 1000}])
def test_weights_to_be_downloaded_do_not_switch_the_check_off(
    given: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(*_: object, **__: object) -> None:
        raise AssertionError("the shapes need no download")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", download)
    with pytest.raises(InputError, match="of memory are free"):
        check_size(torchvision.models.resnet50, {"width_per_group": 128_000, **given})


def test_nor_do_those_of_timm() -> None:
    with pytest.raises(InputError, match="of memory are free"):
        check_size(timm.models.resnet50, {"pretrained": True, "base_width": 128_000})
