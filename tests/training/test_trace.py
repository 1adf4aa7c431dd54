"""What a training records of itself: it is right, it changes nothing, and it goes on after a pause."""

import math
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from toughen import train
from toughen.attacks import PGD, GradientAttack
from toughen.batch import Batch
from toughen.errors import InputError, RunError, ToughenWarning
from toughen.methods import ARAT, MART, PGDAT, TRADES, ARoW, Method, Perturbed, RegMix, Term, Terms
from toughen.models import SmallCNN
from toughen.models.passes import joined
from toughen.run import RunFolder
from toughen.threat import ThreatModel
from toughen.training import AWP, GrowingEps
from toughen.training.checkpoint import load_state
from toughen.training.trace.gradients import GradientTrace, term_cosines, term_gradients
from toughen.training.trace.record import read_record
from toughen.training.trace.weights import WEIGHTS, WeightTrace

TWO = GradientAttack(steps=2, start="normal")
SMALL: dict[str, Any] = {
    "epochs": 2,
    "budget": "none",
    "trackers": [],
    "device": "cpu",
    "batch_size": 25,
    "train_images": 100,
    "val_images": 20,
    "guards": None,
    "model": partial(SmallCNN, width=4),
}
BOTH = ["gradients", "weights"]


class Dropping(SmallCNN):
    """A network that draws random numbers in its passes."""

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.dropout(super().forward(images), 0.2, self.training)


CASES = [
    pytest.param({"method": TRADES(attack=TWO), "model": partial(Dropping, width=4)}, id="dropout"),
    pytest.param({"method": ARAT(attack=PGD(steps=1))}, id="split BatchNorm", marks=pytest.mark.nightly),
    pytest.param({"method": RegMix()}, id="memory of images", marks=pytest.mark.nightly),
    pytest.param(
        {"method": ARoW(attack=TWO), "precision": "bf16", "accumulate": 2}, id="bf16", marks=pytest.mark.nightly
    ),
    pytest.param({"method": TRADES(attack=TWO), "compile": True}, id="compiled", marks=pytest.mark.nightly),
    pytest.param({"method": TRADES(attack=TWO), "awp": AWP(start=1)}, id="AWP", marks=pytest.mark.nightly),
]


@pytest.mark.parametrize("settings", CASES)
def test_the_training_is_the_same_bit_by_bit(settings: dict[str, Any], tmp_path: Path) -> None:
    for name, trace in (("with", BOTH), ("without", [])):
        train(**{**SMALL, **settings}, trace=trace, out=str(tmp_path / name))
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("with", "without")]
    assert weights[0] == weights[1]
    states = [load_state(tmp_path / name / "checkpoints" / "last") for name in ("with", "without")]
    for part in ("model", "method"):
        assert all(torch.equal(value, states[1][part][name]) for name, value in states[0][part].items())
    draws = [state["processes"][0]["generators"] for state in states]
    assert all(torch.equal(value, draws[1][name]) for name, value in draws[0].items())
    record = read_record(RunFolder(tmp_path / "with"))
    assert record.course("cosine/")
    assert [row["epoch"] for row in record.rows] == [1, 2]
    assert not RunFolder(tmp_path / "without").trace.exists()


def test_a_run_that_was_stopped_records_the_same(tmp_path: Path) -> None:
    """By a kill in the second epoch, of which its last checkpoint, in the first, knows nothing."""

    class Killed(Exception):
        pass

    class Kills:
        def __getattr__(self, name: str) -> Any:
            return lambda *values: None

        def stepped(self, step: int) -> None:
            if step == 6:
                raise Killed

    given = {**SMALL, "method": ARoW(attack=TWO), "trace": BOTH, "checkpoint_every": 3, "epochs": 3}
    train(**given, out=str(tmp_path / "whole"))
    with pytest.raises(Killed):
        train(**given, observer=Kills(), out=str(tmp_path / "killed"))
    train(resume=str(tmp_path / "killed"))
    whole, killed = (RunFolder(tmp_path / name) for name in ("whole", "killed"))
    assert whole.trace.read_text() == killed.trace.read_text()
    assert whole.image_weights.read_bytes() == killed.image_weights.read_bytes()


def test_a_damaged_record_is_named_and_made_again(tmp_path: Path) -> None:
    train(**{**SMALL, "epochs": 1}, method=ARoW(attack=TWO), trace=BOTH, out=str(tmp_path / "a"))
    folder = RunFolder(tmp_path / "a")
    for file in (folder.trace, folder.image_weights):
        good = file.read_bytes()
        file.write_bytes(good[:-9] + b"x" + good[-8:])
        with pytest.raises(RunError, match=rf"cannot read .*{file.name}.*--resume"):
            read_record(folder)
        with pytest.warns(ToughenWarning, match=rf"{file.name}: damaged or missing, and made again"):
            train(resume=str(folder.path))
        assert file.read_bytes() == good


class Angle(Method):
    """Two terms of one weight matrix whose gradients have a known angle; they draw, and keep what they drew."""

    def __init__(self, degrees: float) -> None:
        super().__init__()
        self.degrees = degrees
        self.register_buffer("kept", torch.zeros(()))

    def perturb(self, model: nn.Module, batch: Batch) -> Perturbed:
        return Perturbed(batch.images)

    def terms(self, model: nn.Module, batch: Batch, perturbed: Perturbed) -> Terms:
        self.kept.copy_(torch.rand((), generator=self.generator) + torch.rand(()))
        weight, angle = model[1].weight, math.radians(self.degrees)
        turned = math.cos(angle) * weight[0, 0] + math.sin(angle) * weight[1, 3]
        return {"first": Term(weight[0, 0], 2.0), "second": Term(turned, 5.0)}


def looked(degrees: float) -> tuple[GradientTrace, Batch]:
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).train()
    method = Angle(degrees).under(ThreatModel(), torch.Generator().manual_seed(0))
    batch = Batch(torch.rand(4, 1, 4, 4), torch.zeros(4, dtype=torch.int64))
    return GradientTrace(network, method, 100, partial(torch.autocast, "cpu", enabled=False)), batch


@pytest.mark.parametrize("degrees", [0, 60, 120, 180])
def test_cosines_are_those_of_the_angle_and_nothing_moves(degrees: float) -> None:
    trace, batch = looked(degrees)
    before = torch.get_rng_state(), trace.method.generator.get_state()
    trace.due = True
    trace.look(batch, Perturbed(batch.images))
    after = torch.get_rng_state(), trace.method.generator.get_state()
    assert all(torch.equal(*each) for each in zip(before, after, strict=True))
    assert trace.method.kept == 0
    assert all(weight.grad is None for weight in trace.model.parameters())
    row = trace.end_epoch()
    assert row["cosine/first, second"] == pytest.approx(math.cos(math.radians(degrees)), abs=1e-6)
    assert row["conflicting/first, second"] == (degrees > 90)
    assert row["batches/first, second"] == 1
    assert trace.end_epoch() == {}


def test_looks_are_as_far_apart_as_pays_for_them() -> None:
    trace, _ = looked(60)
    due = []
    for place in range(200):
        trace.aim(place, None if place == 0 else 1000.0)  # the first step is counted
        due += [place] if trace.due else []
        if trace.due:
            trace.cost = 0.3  # of a step: 30 steps pay for it
    assert due == [1, 30, 60, 90, 120, 150, 180]
    grown = [place for place in range(200) if (trace.aim(place, 4000.0), trace.due)[1]]
    assert grown == list(range(0, 200, 30))  # larger images, and looks that cost more with them
    trace.cost = 0.001  # cheap: eight an epoch
    assert [place for place in range(100, 200) if (trace.aim(place, 1000.0), trace.due)[1]] == list(range(104, 200, 13))


def test_a_term_without_a_gradient_for_now_is_waited_for(tmp_path: Path) -> None:
    """While images are clean, TRADES' distance to the clean output has none."""
    growing = {"epochs": 8, "batch_size": 5, "attack_eps": GrowingEps(clean=0.25, until=0.5)}
    train(**{**SMALL, **growing}, method=TRADES(attack=PGD(steps=1)), trace=["gradients"], out=str(tmp_path / "a"))
    assert "cosine/" in (tmp_path / "a" / "trace.csv").read_text()


@pytest.mark.parametrize("trace", [["grad"], "gradients"])
def test_what_is_not_recorded_is_said(trace: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="trace: expected one of gradients, weights, got"):
        train(**SMALL, trace=trace, out=str(tmp_path / "a"))


def test_a_loss_of_one_term_is_said_once(tmp_path: Path) -> None:
    with pytest.warns(ToughenWarning, match="PGDAT has one term") as said:
        train(**SMALL, method=PGDAT(PGD(steps=1)), trace=["gradients"], out=str(tmp_path / "a"))
    assert sum("one term" in str(each.message) for each in said) == 1
    assert not (tmp_path / "a" / "trace.csv").exists()


@pytest.mark.parametrize("together", [False, True], ids=["passes one after the other", "in one pass"])
def test_weights_are_those_of_the_methods_own_logits(together: bool) -> None:
    """Against plain loops over two batches, of which one image of the sample is missing."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    trace = WeightTrace(network, torch.tensor([7, 2, 9]), torch.tensor([0, 1, 2]), torch.device("cpu"))
    method, seen = MART(lam=2.0), []
    generator = torch.Generator().manual_seed(0)
    for indices in ([1, 2, 3, 4], [5, 6, 7]):
        images = torch.rand(len(indices), 1, 2, 2, generator=generator)
        batch = Batch(images, torch.tensor(indices) % 3, torch.tensor(indices))
        perturbed = Perturbed(images + 3 * torch.rand(images.shape, generator=generator))
        with trace.watching(batch, perturbed) as tell, joined(network if together else None):
            terms = method.terms(network, batch, perturbed)
            tell(terms)
        assert "forward" not in vars(network)
        clean, adversarial = (network(each).softmax(1).tolist() for each in (images, perturbed.images))
        for place, (index, label) in enumerate(zip(indices, batch.labels.tolist(), strict=True)):
            p, q = clean[place], adversarial[place]
            rest = max(x for k, x in enumerate(q) if k != label)
            divergence = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
            loss = -math.log(q[label]) - math.log(1.0001 - rest) + 2 * divergence * (1 - p[label])
            margin = 1 / (1 + math.exp(10 * (q[label] - rest)))
            weights = {"loss": loss, "arow": 1 - q[label], "cow": p[label], "mart": 1 - p[label], "margin": margin}
            seen.append({"index": index, "broken": q[label] < rest, **weights})
    row, followed = trace.end_epoch()
    assert followed.shape == (3, len(WEIGHTS) + 1)
    broken = [each["broken"] for each in seen]
    assert 0 < sum(broken) < len(seen)
    assert row["broken"] == pytest.approx(sum(broken) / len(seen))
    for column, name in enumerate(WEIGHTS):
        values = [each[name] for each in seen]
        share = sum(values) ** 2 / (len(values) * sum(x * x for x in values))
        assert row[f"effective_share/{name}"] == pytest.approx(share, rel=1e-4)
        on_broken = sum(x for x, failed in zip(values, broken, strict=True) if failed) / sum(values)
        assert row[f"on_broken/{name}"] == pytest.approx(on_broken, rel=1e-4)
        mean = sum(values) / len(values)
        own = {each["index"]: each[name] / mean for each in seen}
        assert followed[:2, column].tolist() == pytest.approx([own[7], own[2]], rel=1e-4)
        assert row[f"q50/{name}"] == pytest.approx((own[7] + own[2]) / 2, rel=1e-4)
    assert followed[2].isnan().all()
    assert followed[:2, -1].tolist() == [
        float(each["broken"]) for index in (7, 2) for each in seen if each["index"] == index
    ]


def test_what_a_method_does_not_compute_is_not_recorded(tmp_path: Path) -> None:
    train(**SMALL, method=PGDAT(PGD(steps=1)), trace=["weights"], out=str(tmp_path / "a"))
    record = read_record(RunFolder(tmp_path / "a"))
    assert list(record.course("on_broken/")) == ["loss", "arow", "margin"]
    assert record.followed is not None
    assert record.followed.weights["arow"].shape == (2, 100)
    assert record.followed.weights["arow"].mean(dim=1).tolist() == pytest.approx([1.0, 1.0], rel=1e-4)  # all of the set
    assert record.followed.weights["mart"].isnan().all()


def test_conflict_in_training_is_that_of_the_finished_step() -> None:
    """Gradients of the terms add up to that of the loss, and stay as they are in the mode of the network."""
    network = SmallCNN(num_classes=10, in_channels=1, width=4).train()
    method = TRADES(beta=3.0, attack=TWO).under(ThreatModel("linf", 0.1), torch.Generator().manual_seed(0))
    batch = Batch(torch.rand(8, 1, 8, 8), torch.arange(8))
    perturbed = method.perturb(network, batch)
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    found = term_gradients(network, method, batch, perturbed)
    assert all(torch.equal(buffer, before[name]) for name, buffer in network.named_buffers())
    terms = method.terms(network, batch, perturbed)
    sum(term.weight * term.values.mean() for term in terms.values()).backward()
    for name, weight in network.named_parameters():
        torch.testing.assert_close(found["natural"][name] + found["robust_kl"][name], weight.grad, rtol=1e-4, atol=1e-6)
    assert list(term_cosines(found)) == ["natural, robust_kl"]


def test_a_checkpoint_of_before_the_cost_was_in_steps_goes_on_with_a_look() -> None:
    trace = GradientTrace(SmallCNN(10, 1, width=4), TRADES(attack=TWO), 20, nullcontext)
    trace.load_state_dict({"flops": 5.0, "found": [], "alone": False})
    trace.aim(3, 1e6)
    assert trace.due


@pytest.mark.parametrize("text", ["", "epoch,cosine/a\n1,x\n", "\x00"])
def test_a_foreign_record_is_a_sentence(text: str, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.image_weights.write_text(text)
    with pytest.raises(RunError, match=r"cannot read .*image_weights\.parquet"):
        read_record(folder)
