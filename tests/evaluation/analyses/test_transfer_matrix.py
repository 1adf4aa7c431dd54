"""The matrix of all models against all, against evaluations with one source each."""

from itertools import product

import numpy as np
import pytest
import torch
from torch import nn

from toughen.attacks import PGD
from toughen.data import ImageSet
from toughen.errors import InputError
from toughen.evaluation import evaluate_model
from toughen.evaluation.analyses.transfer_matrix import TransferMatrix, transfer_matrix
from toughen.models.inference import classes_of
from toughen.threat import ThreatModel

THREAT = ThreatModel("linf", 0.1)


@pytest.fixture(scope="module")
def models(network: nn.Module) -> dict[str, nn.Module]:
    """A network that was trained, and a linear one with random weights."""
    other = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.normal_(generator=generator)
    return {"trained": network, "random": other}


@pytest.fixture(scope="module")
def matrix(models: dict[str, nn.Module], images: ImageSet) -> TransferMatrix:
    return transfer_matrix(models, images, torch.arange(30), THREAT, seed=5, batch_size=12, device="cpu")


def test_a_cell_is_what_an_evaluation_with_that_source_finds(
    models: dict[str, nn.Module], images: ImageSet, matrix: TransferMatrix
):
    for source, target in product(models, models):
        evaluation = evaluate_model(
            models[target],
            images,
            THREAT,
            budget="quick",
            test_images=30,
            sample="first",
            seed=5,
            batch_size=12,
            device="cpu",
            checks=False,
            transfer={source: models[source]},
        )
        places = list(models).index(source), list(models).index(target)
        assert matrix.figure(*places) == evaluation.result["figures"][f"transfer_{source}"]
        assert matrix.clean_figure(places[1]) == evaluation.result["figures"]["clean"]


def test_the_diagonal_is_the_attack_on_the_model_itself(network: nn.Module, images: ImageSet, matrix: TransferMatrix):
    held = []
    for position in range(0, 30, 12):
        batch, labels = images.subset(torch.arange(position, min(position + 12, 30)))
        generator = torch.Generator().manual_seed(5 + position)
        adversarial = PGD(steps=50)(network, batch, labels, THREAT, generator)
        held += ((classes_of(network, adversarial) == labels) & (classes_of(network, batch) == labels)).tolist()
    assert matrix.held[0, 0].tolist() == held
    assert matrix.attack["attack"] == "PGD"
    assert matrix.attack["steps"] == 50
    assert matrix.n == 30


def test_models_and_global_randomness_stay_as_they_were(models: dict[str, nn.Module], images: ImageSet):
    models["trained"].train()
    state, flags = torch.get_rng_state(), [p.requires_grad for p in models["trained"].parameters()]
    told: list[str] = []
    first = transfer_matrix(models, images, torch.arange(4), THREAT, device="cpu", progress=told.append)
    assert models["trained"].training
    assert torch.equal(torch.get_rng_state(), state)
    assert [p.requires_grad for p in models["trained"].parameters()] == flags
    models["trained"].eval()
    assert np.array_equal(transfer_matrix(models, images, torch.arange(4), THREAT, device="cpu").held, first.held)
    assert told == list(models)


def matrix_of(held: np.ndarray) -> TransferMatrix:
    return TransferMatrix(("a", "b", "c"), np.ones(held.shape[1:], dtype=bool), held, {})


def test_a_model_that_others_break_more_than_itself_is_suspected():
    held = np.ones((3, 3, 100), dtype=bool)
    for model in range(3):
        held[model, model, :60] = False
    assert matrix_of(held).suspects() == []
    held[0, 1] = False  # a's images break b's last 40 images too
    assert matrix_of(held).suspects() == [("a", "b")]
    held[0, 1, 64:] = True  # four images more could be chance
    assert matrix_of(held).suspects() == []


def test_refuses_one_model_and_models_for_other_images(models: dict[str, nn.Module], images: ImageSet):
    with pytest.raises(InputError, match="at least two models"):
        transfer_matrix({"a": models["trained"]}, images, torch.arange(4), THREAT)
    broken = {"fine": models["trained"], "broken": nn.Linear(3, 10)}
    with pytest.raises(InputError, match="transfer from broken"):
        transfer_matrix(broken, images, torch.arange(4), THREAT, device="cpu")
