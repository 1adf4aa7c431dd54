"""What a user is told who asked for something wrong: what was wrong, what came, what was expected, what to type."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Toughen = Callable[..., Any]


def refused(answer: Any) -> str:
    """The message of a refusal: a line or two on stderr, no Python in it."""
    assert answer.status == 2
    assert answer.out == ""
    assert answer.err.startswith("toughen: ")
    assert answer.err.count("\n") <= 2
    for foreign in ("Traceback", "jsonargparse", "Parser key", "<class", "typing.", "toughen: toughen"):
        assert foreign not in answer.err
    return answer.err.removeprefix("toughen: ").rstrip("\n")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        # values
        ("train --epochs 1.5", "--epochs: expected an int, got '1.5'"),
        ("train --epochs ten", "--epochs: expected an int, got 'ten'"),
        ("train --epochs=", "--epochs: expected an int, got ''"),
        ("train --epochs", "--epochs needs a value: expected an int"),
        ("train --epochs --seed 1", "--epochs needs a value: expected an int"),
        ("train --workers true", "--workers: expected an int, got 'true'"),
        ("train --clip_grad_norm x", "--clip_grad_norm: expected a float or null, got 'x'"),
        ("train --channels_last=maybe", "--channels_last: expected true or false, got 'maybe'"),
        ("train --select bets", "--select: expected one of best, last, got 'bets'"),
        ("train --method.beta x", "--method.beta: expected a float, got 'x'"),
        ("train --method.beta null", "--method.beta: expected a float, got 'null'"),
        ("train --method.attack.keep_best 3", "--method.attack.keep_best: expected true or false, got '3'"),
        ("train --threat.norm l3", "--threat.norm: expected one of linf, l2, l1, got 'l3'"),
        ("train --model.width 1.5", "--model.width: expected an int, got '1.5'"),
        (
            "train --trackers wand",
            "--trackers: expected a list such as [a, b], each one of tensorboard, mlflow, wandb, trackio, got 'wand'",
        ),
        (
            "train --schedule multistep --schedule.milestones 1,x",
            "--schedule.milestones: expected a list such as [a, b], each an int, got '1,x'",
        ),
        ("train --epochs.x 3", "--epochs.x: --epochs has no settings within, it takes a value: an int"),
        # what constructors say themselves
        (
            "train --threat.eps 8",
            "threat.eps: expected an l-inf radius below 1 (images lie in [0, 1]), got 8.0; did you mean 8/255?",
        ),
        ("train --threat.eps eight", "threat.eps: expected a number such as 0.03 or 8/255, got 'eight'"),
        ("train --method.beta -1", "method.beta: expected a weight of at least 0, got -1.0"),
        ("train --method.attack.steps 0", "attack.steps: expected at least 1, got 0"),
        ("train --average EMA --average.decay 2", "average.decay: expected a number between 0 and 1, got 2.0"),
        # unknown names
        ("train --epoch 3", "unknown option --epoch; did you mean --epochs?"),
        ("train --beta 3", "unknown option --beta; did you mean --method.beta?"),
        ("train --method ARR --lam 3", "unknown option --lam; did you mean --method.lam?"),
        ("train --lr 0.1", "unknown option --lr; did you mean --optimizer.lr?"),
        ("train --eps 8/255", "unknown option --eps; did you mean --threat.eps?"),
        ("train --zzzz 3", "unknown option --zzzz; `toughen train --help` lists them all"),
        ("train -e 3", "unknown option -e; options have two dashes, such as --seed 1"),
        (
            "train --method.nope 1",
            "--method.nope: unknown setting of TRADES; Known: adversarial_first, attack, beta, clean_passes",
        ),
        (
            "train --model.widht 4",
            "--model.widht: unknown setting of SmallCNN; did you mean 'width'? Known: in_channels, num_classes, width",
        ),
        (
            "train --method.attack.stepz 3",
            "--method.attack.stepz: unknown setting of GradientAttack; did you mean 'steps'? "
            "Known: keep_best, mode, restarts, start, step_size, steps",
        ),
        ("train --schedule constant --schedule.x 1", "--schedule.x: unknown setting of Constant; it has none"),
        (
            "list method",
            "list: unknown kind 'method'; did you mean 'methods'? "
            "Known: analyses, attacks, averages, data, methods, models, optimizers, recipes, schedules, studies",
        ),
        # classes
        (
            "train --method no_such_module.X",
            "--method: cannot import 'no_such_module.X': No module named 'no_such_module'; expected "
            "package.module.Name",
        ),
        (
            "train --threat 8/255",
            "--threat: expected settings of its own (--threat.norm, --threat.eps), or null, got '8/255'",
        ),
        (
            "train --threat.esp 8/255",
            "--threat.esp: unknown setting of ThreatModel; did you mean 'eps'? Known: eps, norm",
        ),
        (
            "train --method {a:[",
            "--method: expected a value or YAML such as {width: 32}, got '{a:['",
        ),
        ("train --data imagefolder", "--data ImageFolder needs --data.path (the folder)"),
        (
            "train --schedule multistep",
            "--schedule MultiStep needs --schedule.milestones (after how many epochs it drops)",
        ),
        (
            "train --model timm",
            "--model Timm needs --model.name (such as resnet18, convnext_tiny or vit_small_patch16_224)",
        ),
        (
            "train --epochs.help",
            "--epochs.help: expected a setting that takes a class, such as --method.help, got 'epochs'",
        ),
        # words in the wrong place
        ("train --seed 1 --seed 2", "--seed is given twice, with '1' and '2'; give it once"),
        ("train --method ARR --method TRADES", "--method is given twice, with 'ARR' and 'TRADES'; give it once"),
        ("train --overwrite --overwrite", "--overwrite is given twice, with no value and no value; give it once"),
        (
            "train digits",
            "unexpected argument 'digits'; train takes options, each with one value (a list is written a,b); "
            "see toughen train --help",
        ),
        (
            "train --seed 1 2",
            "unexpected argument '2'; train takes options, each with one value (a list is written a,b); "
            "see toughen train --help",
        ),
        (
            "evaluate a b",
            "unexpected argument 'b'; evaluate takes one RUN and options, each with one value (a list is written a,b); "
            "see toughen evaluate --help",
        ),
        ("evaluate a --run b", "--run is given twice, with 'a' and 'b'; give it once"),
        ("compare", "compare needs RUNS: run folders, such as runs/*; see toughen compare --help"),
        ("compare --out x.html", "compare needs RUNS: run folders, such as runs/*; see toughen compare --help"),
        # --resume
        (
            "train --resume runs/x --seed 1 --epochs 3",
            "--resume goes on with the run's own settings, but --seed came with it; leave it out, or start "
            "another run without --resume",
        ),
        ("train --resume nope", "no run folder at nope; expected a folder made by `toughen train`"),
        # --config
        ("train --config", "--config needs a value: a YAML file, or a recipe that `toughen list recipes` names"),
    ],
)
def test_message(toughen: Toughen, line: str, message: str) -> None:
    assert refused(toughen(*line.split())) == message


@pytest.mark.parametrize(
    ("line", "beginning"),
    [
        ("trian", "unknown command 'trian'; did you mean 'train'? Known: analyze, card, compare, completion, evaluate"),
        (
            "--evaluate",
            "unknown option '--evaluate'; did you mean 'evaluate'? Known: analyze, card, compare, completion, evaluate",
        ),
        (
            "help trian",
            "unknown command 'trian'; did you mean 'train'? Known: analyze, card, compare, completion, evaluate",
        ),
        (f"train --method.beta {'9' * 400}", "--method.beta: expected a float, got '999"),
        (f"train --threat.eps {'9' * 400}", "threat.eps: expected "),
        ("train --budget quik", "--budget: expected one of quick, fast, standard, "),
        ("train --method TRADE", "--method: unknown name 'TRADE'; did you mean 'TRADES'? Known: "),
        ("train --data cifr10", "--data: unknown name 'cifr10'; did you mean 'CIFAR10'? Known: "),
        ("train --method.attack PDG", "--method.attack: unknown name 'PDG'; did you mean 'PGD'? Known: "),
        ("train --method.help TRADE", "--method.help: unknown name 'TRADE'; did you mean 'TRADES'? Known: "),
        ("train --method", "--method needs a value: "),
        ("train --method numpy.array", "--method: numpy.array is not a Method; expected "),
        ("train --method numpy.ndarray", "--method: numpy.ndarray is not a Method; expected "),
        (
            "train --method toughen.methods.Method",
            "--method: toughen.methods.Method is only the base of others; expected ",
        ),
        (
            "train --method ARR --method.attack GradientAttack",
            "--method.attack: GradientAttack is not a PGD; expected FGSM, PGD",
        ),
        ("train --average.start 3", "--average.start: which average? Give --average too: EMA, "),
        ("train --model numpy.ndarray", "--model: numpy.ndarray is not a Module; expected "),
        ("train --config no-such-recipe", "--config: no file and no recipe 'no-such-recipe'; "),
        ("train --config no/such.yaml", "--config: no file and no recipe 'no/such.yaml'; "),
        ("train --device tpu", "--device: expected auto, cpu, cuda, cuda:1 or mps, got 'tpu'"),
        ("evaluate", "evaluate: without a run folder --model, --weights, --data are needed"),
    ],
)
def test_message_begins(toughen: Toughen, line: str, beginning: str) -> None:
    """Their ends list names, of which there will be more."""
    assert refused(toughen(*line.split())).startswith(beginning)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("epochs: many", "my.yaml: epochs: expected an int, got 'many'"),
        ("epochs: 1.5", "my.yaml: epochs: expected an int, got 1.5"),
        ("epochs: null", "my.yaml: epochs: expected an int, got null"),
        ("epochs: [1]", "my.yaml: epochs: expected an int, got [1]"),
        ("epoch: 3", "my.yaml: epoch: unknown setting; did you mean epochs?"),
        ("lr: 3", "my.yaml: lr: unknown setting; did you mean optimizer.lr?"),
        ("zzzz: 3", "my.yaml: zzzz: unknown setting; `toughen train --help` lists them all"),
        ("3: 3", "my.yaml: 3: unknown setting; `toughen train --help` lists them all"),
        (
            "trackers: wandb",
            "my.yaml: trackers: expected a list such as [a, b], each one of tensorboard, mlflow, wandb, trackio, got "
            "'wandb'",
        ),
        ("method: {class_path: TRADES, init_args: {beta: x}}", "my.yaml: method.beta: expected a float, got 'x'"),
        (
            "method: {class_path: TRADES, init_args: {bta: 1}}",
            "my.yaml: method.bta: unknown setting of TRADES; did you mean 'beta'? "
            "Known: adversarial_first, attack, beta, clean_passes",
        ),
        (
            "method: {class_path: TRADES, init_arg: {beta: 1}}",
            "my.yaml: method: expected class_path and its settings under init_args, got class_path, init_arg",
        ),
        (
            "method: {class_path: TRADES, init_args: 3}",
            "my.yaml: method: expected class_path and its settings under init_args, got init_args: 3",
        ),
        (
            "threat: {eps: 8}",
            "threat.eps: expected an l-inf radius below 1 (images lie in [0, 1]), got 8.0; did you mean 8/255?",
        ),
        ("data: ImageFolder", "my.yaml: data ImageFolder needs --data.path (the folder)"),
        ("[1, 2]", "--config: my.yaml: expected settings such as 'epochs: 30', got [1, 2]"),
        ("just words", "--config: my.yaml: expected settings such as 'epochs: 30', got 'just words'"),
        ("", "--config: my.yaml: expected settings such as 'epochs: 30', got None"),
        ("epochs: 3\n  seed: 1", "--config: my.yaml: line 2, column 7: not YAML: mapping values are not allowed here"),
        (
            "epochs: [1, 2",
            "--config: my.yaml: line 1, column 14: not YAML: expected ',' or ']', but got '<stream end>'",
        ),
        ("epochs: 3\nepochs: 4", "--config: my.yaml: line 2, column 1: not YAML: 'epochs' stands there twice"),
    ],
)
def test_message_for_a_file(toughen: Toughen, tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "my.yaml").write_text(content)
    assert refused(toughen("train", "--config", "my.yaml")) == message


def test_a_class_that_is_null_in_a_file(toughen: Toughen, tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text("method: null")
    message = refused(toughen("train", "--config", "my.yaml"))
    assert message.startswith("my.yaml: method: expected ALP, ")
    assert message.endswith("or the import path of your own Method, got null")


def test_a_file_that_is_not_text(toughen: Toughen, tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_bytes(b"\xff\xfe\x00")
    message = refused(toughen("train", "--config", "my.yaml"))
    assert message.startswith("--config: my.yaml: it is not UTF-8 text from byte 0 on")


def test_the_folder_of_a_run_as_configuration(toughen: Toughen, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("epochs: 3")
    message = refused(toughen("train", "--config", str(tmp_path)))
    assert f"did you mean the run's {tmp_path / 'config.yaml'}?" in message


def test_a_file_without_config_before_it(toughen: Toughen, tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text("epochs: 3")
    assert refused(toughen("train", "my.yaml")).endswith("; did you mean --config my.yaml?")


def test_a_tracker_that_is_not_installed(toughen: Toughen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toughen.training.trackers.find_spec", lambda name: None)
    answer = toughen("train", "--trackers", "wandb", "--device", "cpu")
    assert (answer.status, answer.err) == (
        2,
        "toughen: --trackers wandb needs its package: pip install 'toughen[wandb]'\n",
    )


def test_a_users_class_that_cannot_be_built(toughen: Toughen, tmp_path: Path) -> None:
    (tmp_path / "strict_one.py").write_text(
        "from toughen.methods import Standard\n"
        "class Strict(Standard):\n"
        "    def __init__(self, level: int = 0):\n"
        "        super().__init__()\n"
        "        raise ValueError(f'level {level} is too low')\n"
    )
    message = refused(toughen("train", "--method", "strict_one.Strict", "--method.level", "2"))
    assert message == "--method: Strict cannot be built with {'level': 2}: level 2 is too low"
