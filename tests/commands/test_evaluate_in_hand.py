"""A network in hand is evaluated on images in hand, as it would be on those of a data source."""

from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from toughen import evaluate
from toughen.attacks import PGD
from toughen.data import Digits
from toughen.errors import InputError
from toughen.threat import ThreatModel

QUICK: dict[str, Any] = {"budget": "quick", "checks": False, "device": "cpu", "batch_size": 16}


@pytest.fixture(scope="module")
def pairs(images):
    return images.subset(torch.arange(40))


@pytest.fixture(scope="module")
def by_tensors(robust_network, pairs):
    return evaluate(robust_network, *pairs, eps=0.1, sample="first", keep_adversarial=True, **QUICK)


def test_tensors_give_the_verdicts_of_the_data_source(robust_network, by_tensors):
    by_source = evaluate(robust_network, data=Digits(), eps=0.1, sample="first", test_images=40, **QUICK)
    assert by_tensors.verdicts.table.equals(by_source.verdicts.table)
    assert 0 < by_tensors.robust_accuracy < by_tensors.clean_accuracy


def test_a_loader_gives_those_of_tensors(robust_network, pairs, by_tensors):
    loader = DataLoader(TensorDataset(*pairs), batch_size=7)
    assert evaluate(robust_network, loader, eps=0.1, sample="first", **QUICK).verdicts.table.equals(
        by_tensors.verdicts.table
    )


def test_adversarial_images_break_exactly_those_that_the_table_says(robust_network, pairs, by_tensors):
    index = torch.tensor(by_tensors.verdicts.table["index"].to_pylist())
    clean, labels = pairs[0][index], pairs[1][index]
    with torch.no_grad():
        right = robust_network(by_tensors.adversarial).argmax(1) == labels
    assert right.tolist() == by_tensors.verdicts.robust().tolist()
    assert (by_tensors.adversarial - clean).abs().max() <= 0.1 + 1e-6


def test_a_folder_is_gone_on_from(robust_network, pairs, by_tensors, tmp_path):
    calls = [evaluate(robust_network, *pairs, eps=0.1, sample="first", out=str(tmp_path), **QUICK) for _ in range(2)]
    assert [each.reused for each in calls] == [False, True]
    assert all(each.verdicts.table.equals(by_tensors.verdicts.table) for each in calls)
    assert (tmp_path / "report.html").exists()


def test_the_callers_network_stays_as_it_was(robust_network, pairs):
    robust_network.train()
    before = {name: value.clone() for name, value in robust_network.state_dict().items()}
    try:
        evaluate(robust_network, *pairs, eps=0.1, attacks=[PGD(steps=1)], **{**QUICK, "budget": "none"})
        assert robust_network.training
        assert all(torch.equal(value, before[name]) for name, value in robust_network.state_dict().items())
    finally:
        robust_network.eval()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"eps": 8}, "eps"),
        ({"bugdet": "quick"}, "unknown setting 'bugdet'; did you mean 'budget'"),
        ({"threat": "linf"}, "threat: expected a ThreatModel, got str 'linf'"),
        ({"threat": ThreatModel("linf", 0.1), "eps": 0.1}, "threat: expected a ThreatModel alone, or eps and norm"),
        ({"weights": "w.safetensors"}, "weights: there is a network already"),
        ({"data": Digits()}, r"images: expected evaluate\(network, images, labels\), evaluate\(network, loader\)"),
        ({"budget": "none"}, "budget: none, and no attack beside it"),
        ({"keep_adversarial": True, "out": "x"}, "keep_adversarial: expected a network, images and labels, and no out"),
    ],
)
def test_misuse_says_what_to_write(network, pairs, given, message):
    with pytest.raises(InputError, match=message):
        evaluate(network, *pairs, **given)


def test_what_is_no_network_and_no_run_is_refused(pairs):
    with pytest.raises(InputError, match=r"run: expected a run folder or a network \(nn.Module\), got int"):
        evaluate(3)
    with pytest.raises(InputError, match=r"images: they go with a network in hand"):
        evaluate("runs/x", *pairs)
    with pytest.raises(InputError, match="threat: expected a ThreatModel, got str 'l2'"):
        evaluate("runs/x", threat="l2")


def test_the_image_that_broke_is_kept_though_a_later_attack_finds_nothing(robust_network, pairs):
    def nothing(model, images, labels):
        return images

    given = {**QUICK, "budget": "none", "eps": 0.1, "sample": "first"}
    found = evaluate(robust_network, *pairs, attacks=[PGD(steps=10), nothing], keep_adversarial=True, **given)
    assert 0 < found.robust_accuracy < found.clean_accuracy
    with torch.no_grad():
        right = robust_network(found.adversarial).argmax(1) == pairs[1]
    assert right.tolist() == found.verdicts.robust().tolist()
