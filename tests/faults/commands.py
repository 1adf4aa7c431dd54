"""Command lines as people and their keyboards write them."""

from random import Random

from toughen.cli import card, compare, evaluate, export, merge, predict, push, train, tune_batch
from toughen.cli.parser import Parser
from toughen.commands.train import DEFAULTS
from toughen.commands.trainings.settings import check_settings

PARSERS = {
    "train": train.parser,
    "evaluate": evaluate.parser,
    "merge": merge.parser,
    "compare": compare.parser,
    "export": export.parser,
    "predict": predict.parser,
    "card": card.parser,
    "push": push.parser,
    "tune_batch": tune_batch.parser,
}
NAMES = (
    "seed", "epochs", "batch_size", "data", "data.path", "model", "model.width", "method", "method.beta", "threat",
    "method.attack", "method.attack.steps", "threat.eps", "threat.norm", "optimizer", "optimizer.lr", "schedule", "awp",
    "schedule.milestones", "average", "augment", "augment.crop", "label_smoothing", "cutmix", "extra", "extra.path",
    "trackers", "seeds", "out", "resume", "config", "help", "method.help", "run", "runs", "folders", "key", "weights",
    "transfer", "analyses", "analyses.EpsCurve.points", "checks", "require", "shard", "budget", "sample", "test_images",
    "time_limit", "eot", "device", "precision", "workers", "overwrite", "print_config", "layer_decay", "trust",
)  # fmt: skip
VALUES = (
    "", "0", "-1", "1", "3", "0.5", "1e999", "nan", "inf", "8/255", "8/0", "1/2/3", "9" * 400, "9" * 5000, str(2**64),
    "18446744073709551615", "true", "null", "[]", "{}", "[1, 2]", "{a: 1}", "{a: {b: [c]}}", "[" * 500, "{a: " * 300,
    "*a", "&a [*a]", "!!int x", "!!python/object/apply:os.system [x]", "{class_path: os.system, init_args: {}}",
    "{class_path: null}", "{class_path: [1]}", "{init_args: 3}", "os.system", "digits", "Digits", "image_folder", "EMA",
    "small_cnn", "resnet18", "timm", "TRADES", "ARR", "PGD", "FGSM", "SGD", "Cosine", "MultiStep", "EpsCurve", "linf",
    "l7", "a,b", ",", "a,,b", "SelfChecks,EpsCurve", "quick", "none", "auto", "cpu", "cuda:99", "2/3", "0/0", "1/0",
    "robust >= 0.4", "robust >= 1e5", "and", ">=", "x[/b]", "\x1b[2J", "~nobody/x", "~", "/dev/null", "/dev/zero", "é",
    "\udcff", "\u202e", "../..", "x" * 5000, "a b", "=", "--", "-", "-x", "-1.5.2", "toughen.models", "toughen..x", ".",
    ".x", "x.", "<lambda>", "0x10", "1_0", "2001-99-99", "yes", "on", "{on: logits}",
)  # fmt: skip


def command_line(random: Random) -> list[str]:
    """A command with some options, most of them its own, and values that they may not have."""
    command = random.choice(list(PARSERS))
    words = [command]
    for _ in range(random.choice((0, 1, 1, 2, 2, 3, 5))):
        kind, name = random.randrange(10), random.choice(NAMES)
        option = (
            f"--{name}" if kind else random.choice(("--", "---", "-", "--=", "--.", "--a..b", f"--{name}.", "\x00"))
        )
        if kind == 1:
            option = option.replace("_", "-").upper()
        if kind == 2:
            words.append(random.choice(VALUES))
        if kind in (3, 4):
            words.append(f"{option}={random.choice(VALUES)}")
        else:
            words += [option] if kind == 5 else [option, random.choice(VALUES)]
    return words


def read(words: list[str]) -> None:
    """Read a command line, up to where the command would begin."""
    parser: Parser = PARSERS[words[0]]()
    request = parser.parse(words[1:])
    if request is not None and words[0] == "train":
        check_settings({name: request.settings[name] for name in DEFAULTS})
