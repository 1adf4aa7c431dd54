"""From words and YAML to the objects that a function is called with."""

from collections.abc import Callable
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from toughen import catalog
from toughen.attacks import FGSM, PGD, GradientAttack
from toughen.cli.parser import Parser, Request
from toughen.cli.train import GROUPS, parser
from toughen.commands.evaluate import evaluate
from toughen.commands.train import train
from toughen.data import CIFAR10, Augment, Digits, FashionMNIST, ImageFolder
from toughen.methods import ARR, TRADES, Method, Standard
from toughen.models import ResNet18, SmallCNN, Timm, Torchvision
from toughen.models.transformers_network import Transformers
from toughen.settings.description import describe
from toughen.threat import ThreatModel
from toughen.training import EMA, SGD, MultiStep, OneCycle, Schedule


def asked(line: str, function: Callable[..., Any] = train) -> dict[str, Any]:
    """What a command line asks for, without the defaults that are always filled in."""
    request = Parser(function, "run" if function is evaluate else "", skip=["observer", "progress"]).parse(line.split())
    assert isinstance(request, Request)
    within = request.settings.get("settings")
    settings = {**request.settings, **(vars(within) if within else {})}
    return {name: settings[name] for name in request.asked}


def same(first: Any, second: Any) -> bool:
    """Whether two settings would be written into config.yaml alike."""
    return bool(describe(first) == describe(second))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_nothing_asked_for() -> None:
    assert asked("") == {}


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("--epochs 3", "epochs", 3),
        ("--epochs=3", "epochs", 3),
        ("--batch-size 64", "batch_size", 64),
        ("--clip_grad_norm 1", "clip_grad_norm", 1.0),
        ("--clip_grad_norm 1e-3", "clip_grad_norm", 1e-3),
        ("--clip_grad_norm null", "clip_grad_norm", None),
        ("--seed -1", "seed", -1),
        ("--overwrite", "overwrite", True),
        ("--overwrite --seed 1", "overwrite", True),
        ("--overwrite false", "overwrite", False),
        ("--channels_last False", "channels_last", False),
        ("--precision BF16", "precision", "bf16"),
        ("--out 123", "out", "123"),
        ("--out=--odd", "out", "--odd"),
        ("--test_images null", "test_images", None),
        ("--trackers tensorboard,wandb", "trackers", ["tensorboard", "wandb"]),
        ("--trackers wandb", "trackers", ["wandb"]),
        ("--trackers [wandb,mlflow]", "trackers", ["wandb", "mlflow"]),
        ("--trackers []", "trackers", []),
        ("--trackers=", "trackers", []),
    ],
)
def test_values(line: str, name: str, value: Any) -> None:
    found = asked(line)[name]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("--data fashion_mnist", "data", FashionMNIST()),
        ("--data imagefolder --data.path photos", "data", ImageFolder("photos")),
        ("--method TRADES", "method", TRADES()),
        ("--method toughen.methods.TRADES", "method", TRADES()),
        ("--method.beta 3", "method", TRADES(beta=3)),
        ("--method TRADES --method.beta 3", "method", TRADES(beta=3)),
        ("--method.lam 3 --method ARR", "method", ARR(lam=3)),
        ("--method ARR --method.lam 3", "method", ARR(lam=3)),
        ("--method arr --method.attack FGSM", "method", ARR(attack=FGSM())),
        (
            "--method.attack.start uniform --method.attack fgsm --method arr",
            "method",
            ARR(attack=FGSM(start="uniform")),
        ),
        # as files of earlier versions call it
        ("--method.attack Ascent --method.attack.steps 3", "method", TRADES(attack=GradientAttack(steps=3))),
        ("--threat.eps 4/255", "threat", ThreatModel("linf", "4/255")),
        ("--threat.norm l2", "threat", ThreatModel("l2", 0.5)),
        ("--threat.norm L2 --threat.eps 1", "threat", ThreatModel("l2", 1)),
        ("--threat null", "threat", None),
        ("--threat", "threat", ThreatModel()),
        ("--threat threat_model --threat.norm l2", "threat", ThreatModel("l2")),
        ("--augment", "augment", Augment()),
        ("--augment augment --augment.crop 2", "augment", Augment(crop=2)),
        ("--augment.flip false", "augment", Augment(flip=False)),
        ("--average ema --average.decay 0.9", "average", EMA(0.9)),
        ("--average null", "average", None),
        (
            "--optimizer.lr 0.01 --optimizer.nesterov",
            "optimizer",
            partial(SGD, lr=0.01, momentum=0.9, weight_decay=5e-4, nesterov=True),
        ),
        (
            "--optimizer adam_w --optimizer.lr 1e-3 --optimizer.betas [0.8,0.9]",
            "optimizer",
            partial(
                torch.optim.AdamW,
                lr=1e-3,
                betas=(0.8, 0.9),
                eps=1e-8,
                weight_decay=0.01,
                amsgrad=False,
                maximize=False,
                foreach=None,
                capturable=False,
                differentiable=False,
                fused=None,
            ),
        ),
        ("--schedule multi_step --schedule.milestones 100,150", "schedule", MultiStep([100, 150])),
        ("--schedule multistep --schedule.milestones [100]", "schedule", MultiStep([100])),
        ("--schedule.peak 0.5", "schedule", OneCycle(0.5)),
        ("--model resnet18", "model", partial(ResNet18, width=64)),
        ("--model.width 4", "model", partial(SmallCNN, width=4)),
        ("--model small_cnn --model.num_classes 3", "model", partial(SmallCNN, width=16, num_classes=3)),
        ("--model timm --model.name resnet34", "model", partial(Timm, name="resnet34", arguments=None, source=None)),
        ("--model timm:resnet34", "model", partial(Timm, name="resnet34", arguments=None, source=None)),
        ("--model hf-hub:o/n", "model", partial(Timm, name="hf-hub:o/n", arguments=None, source=None)),
        ("--model torchvision/vgg11", "model", partial(Torchvision, name="vgg11", weights=None)),
        ("--model torchvision:vgg11.DEFAULT", "model", partial(Torchvision, name="vgg11", weights="DEFAULT")),
        ("--model hf:o/n", "model", partial(Transformers, name="o/n", config=None)),
    ],
)
def test_classes(line: str, name: str, value: Any) -> None:
    found = asked(line)[name]
    assert same(found, value)
    assert type(found) is type(value)


def test_what_the_default_object_was_built_with_stays() -> None:
    """TRADES starts from normal noise; asking for fewer steps leaves that."""
    method = asked("--method.attack.steps 3")["method"]
    assert same(method, TRADES(attack=GradientAttack(steps=3, start="normal")))


def test_what_a_functions_own_default_was_built_with_stays() -> None:
    def own(
        method: Method = TRADES(beta=2, attack=GradientAttack(steps=3)), schedule: Schedule = MultiStep([5])
    ) -> None:
        """Train."""

    assert same(asked("--method.beta 4", own)["method"], TRADES(beta=4, attack=GradientAttack(steps=3)))
    method = asked("--method.attack.start clean", own)["method"]
    assert same(method, TRADES(beta=2, attack=GradientAttack(steps=3, start="clean")))
    assert same(asked("--method trades", own)["method"], TRADES())
    assert same(asked("--schedule.gamma 0.5", own)["schedule"], MultiStep([5], 0.5))


def test_a_users_class_that_fixes_a_setting_of_its_parent(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "fixed_one.py").write_text(
        "from toughen.methods import TRADES\n"
        "class Fixed(TRADES):\n"
        "    def __init__(self, level: int = 0, **rest):\n"
        "        super().__init__(beta=9, **rest)\n"
    )
    monkeypatch.syspath_prepend(folder)
    method = asked("--method fixed_one.Fixed --method.level 2 --method.clean_passes 2")["method"]
    assert (method.beta, method.clean_passes) == (9, 2)


def test_a_class_that_is_named_has_its_own_defaults() -> None:
    assert same(asked("--method ARR --method.attack PGD")["method"], ARR(attack=PGD()))
    assert same(asked("--method ARR")["method"], ARR(attack=PGD(steps=3)))


def test_evaluate_takes_its_run_anywhere() -> None:
    for line in ("runs/a --budget quick", "--budget quick runs/a", "--run runs/a --budget quick"):
        assert asked(line, evaluate) == {"run": "runs/a", "budget": "quick"}
    assert asked("--overwrite runs/a", evaluate) == {"run": "runs/a", "overwrite": True}


def runs(runs: list[str], *, out: str | None = None) -> None:
    """Take several.

    Args:
        runs: folders.
        out: page.
    """


def test_several_positional_arguments() -> None:
    for line in (["a", "b", "--out", "c"], ["--out", "c", "a", "b"]):
        request = Parser(runs, "runs").parse(line)
        assert request is not None
        assert request.settings == {"runs": ["a", "b"], "out": "c"}


CONFIG = """
data: CIFAR10
model: {class_path: ResNet18, init_args: {width: 32}}
method: {class_path: ARR, init_args: {lam: 3, distance: l2, on: logits, attack: FGSM}}
threat: {norm: linf, eps: 8/255}
optimizer: {lr: 1e-2}
average: {class_path: toughen.training.EMA}
epochs: 30
trackers: []
"""


def test_a_file_says_the_same(folder: Path) -> None:
    (folder / "my.yaml").write_text(CONFIG)
    found = asked("--config my.yaml")
    expected = {
        "data": CIFAR10(),
        "model": partial(ResNet18, width=32),
        "method": ARR(lam=3, distance="l2", on="logits", attack=FGSM()),
        "threat": ThreatModel("linf", "8/255"),
        "optimizer": partial(SGD, lr=0.01, momentum=0.9, weight_decay=5e-4, nesterov=False),
        "average": EMA(),
        "epochs": 30,
        "trackers": [],
    }
    assert same(found, expected)


@pytest.mark.parametrize("line", ["--config my.yaml {}", "{} --config my.yaml"])
def test_options_override_a_file_wherever_they_stand(folder: Path, line: str) -> None:
    (folder / "my.yaml").write_text(CONFIG)
    found = asked(line.format("--method.lam 4 --epochs 2 --threat.eps 4/255 --model.width 8"))
    assert same(found["method"], ARR(lam=4, distance="l2", on="logits", attack=FGSM()))
    assert found["epochs"] == 2
    assert found["threat"] == ThreatModel("linf", "4/255")
    assert same(found["model"], partial(ResNet18, width=8))


def test_the_same_class_named_again_keeps_the_files_settings(folder: Path) -> None:
    (folder / "my.yaml").write_text(CONFIG)
    found = asked("--config my.yaml --method arr --method.attack.start uniform")
    assert same(found["method"], ARR(lam=3, distance="l2", on="logits", attack=FGSM(start="uniform")))


def test_another_class_drops_the_files_settings(folder: Path) -> None:
    (folder / "my.yaml").write_text(CONFIG)
    found = asked("--config my.yaml --method TRADES --model small_cnn")
    assert same(found["method"], TRADES())
    assert same(found["model"], partial(SmallCNN, width=16))


def test_a_later_file_overrides_an_earlier_one(folder: Path) -> None:
    (folder / "a.yaml").write_text("{method: ARR, epochs: 3, seed: 1}")
    (folder / "b.yaml").write_text("{method: {lam: 2}, epochs: 4}")
    found = asked("--config a.yaml --config b.yaml")
    assert (found["epochs"], found["seed"]) == (4, 1)
    assert same(found["method"], ARR(lam=2))


def test_every_recipe_is_a_valid_configuration() -> None:
    for name in catalog.recipes():
        content = yaml.safe_load(Path(catalog.recipes()[name].path).read_text())
        # A recipe for images of one's own leaves the folder to be said.
        own = " --data.path photos" if content["data"] == "ImageFolder" else ""
        assert asked(f"--config {name}{own}").keys() == content.keys()


@pytest.mark.parametrize(
    "line",
    [
        "",
        "--config my.yaml",
        "--config my.yaml --method TRADES --method.attack.step_size 2/255 --model timm --model.name resnet18",
        "--data imagefolder --data.path photos --threat.norm l1 --schedule multistep "
        "--schedule.milestones 1,2 --overwrite",
        "--augment.flip false --average swa --method standard --out 1 --trackers []",
    ],
)
def test_the_printed_configuration_is_complete_and_goes_back_in(
    folder: Path, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    (folder / "my.yaml").write_text(CONFIG)
    parser = Parser(train, skip=["observer", "progress"])
    assert parser.parse([*line.split(), "--print_config"]) is None
    printed = capsys.readouterr().out
    (folder / "printed.yaml").write_text(printed)
    assert yaml.safe_load(printed).keys() == parser.settings.keys() - {"trust", "overwrite"}  # which no file may say
    assert "toughen." not in printed  # classes go by their short names
    request, again = parser.parse(line.split()), parser.parse(["--config", "printed.yaml"])
    assert request is not None
    assert again is not None
    assert same(again.settings, {**request.settings, "overwrite": False})


def test_the_printed_configuration_of_evaluate_goes_back_in(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parser = Parser(evaluate, "run", skip=["progress"])
    parser.parse(["runs/a", "--threat.eps", "4/255", "--print_config"])
    (folder / "printed.yaml").write_text(capsys.readouterr().out)
    again = parser.parse(["--config", "printed.yaml"])
    assert again is not None
    assert again.settings["run"] == "runs/a"
    assert again.settings["threat"] == ThreatModel("linf", "4/255")
    assert again.settings["model"] is None


def test_a_free_form_dict_takes_items() -> None:
    def build(*, extra: dict[str, Any] | None = None) -> None:
        """Build."""

    for line in (["--extra.width", "3"], ["--extra", "{width: 3}"]):
        request = Parser(build).parse(line)
        assert request is not None
        assert request.settings == {"extra": {"width": 3}}


def test_the_groups_of_the_help_name_real_options() -> None:
    names = [name for group in GROUPS.values() for name in group]
    assert len(set(names)) == len(names)
    assert set(names) <= set(parser().settings)


def test_defaults_are_those_of_python() -> None:
    request = Parser(train, skip=["observer", "progress"]).parse([])
    assert request is not None
    defaults = {name: item.default for name, item in signature(train).parameters.items()}
    assert request.settings.pop("model").keywords == {"width": 16}
    assert request.settings.pop("optimizer").func is defaults["optimizer"]
    assert {name: defaults[name] for name in request.settings} == request.settings
    assert request.asked == set()
    assert same(Standard(), asked("--method standard")["method"])
    assert same(Digits(), asked("--data digits")["data"])
