"""A step asks the device for no value: on a GPU each such question waits for all work that was given to it."""

import tempfile
from pathlib import Path
from traceback import extract_stack
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from toughen.attacks import FGSM, PGD, GradientAttack
from toughen.commands.train import DEFAULTS
from toughen.commands.trainings.assemble import ready
from toughen.commands.trainings.settings import with_data_facts
from toughen.data import Digits
from toughen.methods import (
    ALP,
    ARAT,
    ARR,
    D2R,
    FGSMPGK,
    LBGAT,
    MART,
    NFGSM,
    OAAT,
    PGDAT,
    TRADES,
    VAT,
    ARoW,
    RegMix,
    Standard,
)
from toughen.run import RunFolder
from toughen.training import AWP, EMA, GrowingSize, SuccessEMA

ASKING = {
    torch.ops.aten._local_scalar_dense,
    torch.ops.aten.nonzero,
    torch.ops.aten.masked_select,
    torch.ops.aten._unique2,
    torch.ops.aten.equal,
    torch.ops.aten.is_nonzero,
}
"""Operations whose result, or its shape, the host must know before it goes on."""
BY_INDEX = {torch.ops.aten.index, torch.ops.aten.index_put, torch.ops.aten.index_put_}
"""These too, where a mask chooses."""


HARMLESS = ("one_hot(", "n_averaged")
"""What asks nothing of a GPU: there torch leaves the check of one_hot's labels to it, and that count is on the CPU."""


class Questions(TorchDispatchMode):
    """Notes every operation that asks."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        chosen = args[1] if func._overloadpacket in BY_INDEX else []
        by_mask = any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in chosen)
        if func._overloadpacket in ASKING or by_mask:
            lines = [frame.line or "" for frame in extract_stack()]
            if not any(name in line for name in HARMLESS for line in lines):
                self.asked.append(f"{func}: {lines[-2]}")
        return func(*args, **(kwargs or {}))


TWO = GradientAttack(steps=2, start="normal")
CASES: dict[str, dict[str, Any]] = {
    "TRADES": {"method": TRADES(attack=TWO)},
    "everything": {
        "method": TRADES(attack=TWO),
        "average": EMA(),
        "awp": AWP(start=1),
        "clip_grad_norm": 1.0,
        "label_smoothing": 0.1,
        "accumulate": 2,
        "image_size": GrowingSize(),
    },
    "plain path": {"method": TRADES(attack=TWO), "fast": False},
    "bf16": {"method": PGDAT(PGD(steps=2)), "precision": "bf16"},
    "best point kept": {"method": PGDAT(PGD(steps=2, restarts=2, keep_best=True))},
    "FGSMPGK": {"method": FGSMPGK(), "average": SuccessEMA()},
    "OAAT": {"method": OAAT(attack=PGD(steps=2)), "epochs": 1},
    "RegMix": {"method": RegMix()},
    "NFGSM": {"method": NFGSM(attack=FGSM())},
    "ARoW": {"method": ARoW(attack=TWO)},
    "ARAT": {"method": ARAT(attack=PGD(steps=2))},
    "ARR": {"method": ARR(attack=PGD(steps=2))},
    "D2R": {"method": D2R(attack=TWO)},
    "LBGAT": {"method": LBGAT(attack=TWO)},
    "MART": {"method": MART(attack=PGD(steps=2))},
    "ALP": {"method": ALP(attack=PGD(steps=2))},
    "VAT": {"method": VAT()},
    "Standard": {"method": Standard()},
}


@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
def test_steps_between_two_checks_ask_nothing(options: dict[str, Any]) -> None:
    images = Digits().load("train")
    asked = {**DEFAULTS, "device": "cpu", "batch_size": 32, "train_images": 130, "val_images": 20, **options}
    with tempfile.TemporaryDirectory() as folder:
        trainer = ready(RunFolder(Path(folder) / "run"), with_data_facts(asked, images), images)
    trainer.begin_epoch()
    batches = iter(trainer.train)
    trainer.train_on(next(batches), last=True)  # counts FLOPs, and begins the average
    with trainer.prepared(), Questions() as questions:
        for batch in batches:
            trainer.train_on(batch, last=True)
    assert questions.asked == []


def test_a_question_is_noticed() -> None:
    with Questions() as questions:
        bool(torch.rand(2).sum() > 0)
        torch.rand(3)[torch.tensor([True, False, True])]
        torch.rand(3)[torch.tensor([0, 2])]
    found = [line.partition(":")[0] for line in questions.asked]
    assert found == ["aten._local_scalar_dense.default", "aten.index.Tensor"]
