"""Images of another model."""

import json

import pytest
import torch
from torch import Tensor, nn

from toughen.attacks import PGD
from toughen.attacks.transfer import check_source, short_names, transfers
from toughen.errors import InputError
from toughen.evaluation import Transfer, evaluate_model
from toughen.threat import ThreatModel

THREAT = ThreatModel("linf", 0.1)


class Refusing(nn.Module):
    """A model that must not be asked."""

    def forward(self, images: Tensor) -> Tensor:
        raise AssertionError("a transfer attack asked the judged model")


def test_the_images_are_those_of_an_attack_on_the_source(network, batch):
    images, labels = batch
    attempt = Transfer(network, "other").run(Refusing(), images, labels, THREAT, torch.Generator().manual_seed(5))
    direct = PGD(steps=50)(network, images, labels, THREAT, torch.Generator().manual_seed(5))
    assert torch.equal(attempt.adversarial, direct)
    assert attempt.held is None


def test_settings_hold_the_sources_weights(network):
    (planned,) = transfers({"runs/the other": network})
    settings = planned.settings(THREAT)
    assert planned.name == "transfer_runs_the_other"
    assert json.loads(json.dumps(settings)) == settings
    assert (settings["attack"], settings["source"], settings["steps"]) == ("transfer", "runs/the other", 50)
    assert len(settings["source_sha256"]) == 64


def test_an_evaluation_judges_them_on_the_target(network, images):
    """A model is broken by its own images at least as often as a flattened linear one by images of that model."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        other = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval()
    settings = {"budget": "quick", "test_images": 60, "device": "cpu", "batch_size": 40, "checks": False}
    result = evaluate_model(network, images, THREAT, transfer={"itself": network, "other": other}, **settings)
    figures = result.result["figures"]
    assert list(figures) == ["clean", "fgsm", "pgd20_margin", "transfer_itself", "transfer_other"]
    # Its own PGD-50 breaks nearly what PGD-20 on the margin does; the foreign images hardly any.
    assert figures["transfer_itself"]["accuracy"] < figures["clean"]["accuracy"] - 0.3
    assert figures["transfer_other"]["accuracy"] > figures["transfer_itself"]["accuracy"] + 0.2
    assert result.result["attacks"]["transfer_other"]["source"] == "other"


def test_a_source_that_does_not_fit_is_named(network, images):
    wrong = nn.Sequential(nn.Flatten(), nn.Linear(64, 7))
    with pytest.raises(InputError, match="transfer from small: .*one logit for each"):
        evaluate_model(network, images, THREAT, budget="quick", transfer={"small": wrong}, device="cpu")
    with pytest.raises(InputError, match="transfer from flat: the model cannot take"):
        check_source("flat", nn.Linear(3, 10), torch.rand(2, 1, 8, 8), 10)


def test_two_sources_of_one_column_are_refused(network, images):
    sources = {"a b": network, "a_b": network}
    with pytest.raises(InputError, match="two of them give the column transfer_a_b"):
        evaluate_model(network, images, THREAT, budget="quick", transfer=sources, device="cpu")


def test_names():
    assert [attack.name for attack in transfers({"a": nn.Flatten(), "b": nn.Flatten()})] == ["transfer_a", "transfer_b"]
    assert short_names(["runs/a/", "/x/b"]) == ["a", "b"]
