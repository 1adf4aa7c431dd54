"""The options of every method, from words and YAML: each takes one class, so its settings or its name are enough."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from toughen.cli.parser import Parser, Request
from toughen.commands.train import train
from toughen.data import CutMix, ExtraImages
from toughen.settings.description import describe
from toughen.training import AWP, EMA, GrowingEps, GrowingSize, GrowingSteps

OPTIONS = [
    ("--awp", "awp", AWP()),
    ("--awp awp", "awp", AWP()),
    ("--awp AWP --awp.start 3", "awp", AWP(start=3)),
    ("--awp.gamma 0.01", "awp", AWP(gamma=0.01)),
    ("--cutmix cut_mix --cutmix.alpha 0.5", "cutmix", CutMix(alpha=0.5)),
    ("--extra.path a.npz --extra.fraction 0.3", "extra", ExtraImages("a.npz", fraction=0.3)),
    ("--awp null", "awp", None),
    ("--label_smoothing 0.1", "label_smoothing", 0.1),
    ("--class-weight balanced", "class_weight", "balanced"),
    ("--attack_steps", "attack_steps", GrowingSteps()),
    ("--attack-steps.first 3 --attack_steps.until 0.8", "attack_steps", GrowingSteps(first=3, until=0.8)),
    ("--image_size growing_size --image_size.stages 2", "image_size", GrowingSize(stages=2)),
    ("--attack_eps.clean 0.25", "attack_eps", GrowingEps(clean=0.25)),
    ("--freeze conv1,layer1", "freeze", ["conv1", "layer1"]),
    ("--body-rate 0.1", "body_rate", 0.1),
    ("--average EMA --average.start 5", "average", EMA(start=5)),
    ("--compile", "compile", True),
    ("--compile false", "compile", False),
    ("--normalize 0.5/0.25", "normalize", "0.5/0.25"),
    ("--normalize none", "normalize", "none"),
    ("--normalize false", "normalize", False),
]
FILES = [
    ({"awp": {"gamma": 0.01}}, "awp", AWP(gamma=0.01)),
    ({"awp": {"class_path": "AWP", "init_args": {"start": 2}}}, "awp", AWP(start=2)),
    ({"attack_steps": {"first": 4}, "image_size": None}, "attack_steps", GrowingSteps(first=4)),
    ({"freeze": ["conv1"]}, "freeze", ["conv1"]),
    ({"class_weight": "balanced"}, "class_weight", "balanced"),
    ({"extra": describe(ExtraImages("a.npz"))}, "extra", ExtraImages("a.npz")),
]


def asked(words: list[str]) -> dict[str, Any]:
    request = Parser(train, skip=["observer", "progress"]).parse(words)
    assert isinstance(request, Request)
    return request.settings


@pytest.mark.parametrize(("line", "name", "value"), OPTIONS)
def test_words(line: str, name: str, value: Any) -> None:
    assert describe(asked(line.split())[name]) == describe(value)


@pytest.mark.parametrize(("content", "name", "value"), FILES)
def test_files(tmp_path: Path, content: dict[str, Any], name: str, value: Any) -> None:
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(content))
    assert describe(asked(["--config", str(tmp_path / "a.yaml")])[name]) == describe(value)
