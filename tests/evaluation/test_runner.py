"""A whole evaluation: the same rows however it is cut, and a result that says everything."""

import copy
import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from toughen.attacks import AutoAttack
from toughen.batch import Batch
from toughen.data import ImageSet
from toughen.data.source import Decoded
from toughen.errors import InputError, ToughenWarning
from toughen.evaluation import Evaluation, Step, attacks_of, evaluate_model
from toughen.evaluation.plan import choose_images
from toughen.evaluation.records.batches import attack_table
from toughen.evaluation.verify import judge, judge_clean
from toughen.models.inference import frozen
from toughen.run import RunFolder
from toughen.threat import ThreatModel

pytestmark = pytest.mark.usefixtures("short_self_checks")

THREAT = ThreatModel("linf", 0.08)


def quick(network: nn.Module, images: ImageSet, **settings) -> Evaluation:
    given = {"budget": "quick", "test_images": 20, "sample": "first", "batch_size": 10, "seed": 3, "device": "cpu"}
    given |= settings
    return evaluate_model(network, images, THREAT, **given)


def test_a_part_equals_its_rows_of_the_whole(network, images, standard: Evaluation, short_autoattack):
    """Images 10 .. 19 alone, under each attack: rows and adversarial images are those of the whole."""
    indices, cpu = torch.arange(10, 20), torch.device("cpu")
    shown = {picture.numpy().tobytes(): row for row, picture in enumerate(standard.gallery["clean"])}
    compared = 0
    with frozen(network, cpu) as judged:
        clean = judge_clean(judged, Batch(*images.subset(indices), indices), cpu)
        for attack in attacks_of("standard", 10, "linf"):
            outcome = judge(judged, clean, attack, THREAT, seed=3 + 10)
            rows = attack_table(attack.name, outcome, clean, indices)
            whole = standard.verdicts.table.select(rows.column_names).slice(10, 10)
            assert rows.to_pylist() == whole.to_pylist()
            if attack.name == "autoattack":
                for row in (~outcome.held & (outcome.norm > 0)).nonzero().squeeze(1).tolist():
                    place = shown.get(clean.batch.images[row].numpy().tobytes())
                    if place is not None:
                        assert torch.equal(outcome.adversarial[row], standard.gallery["adversarial"][place])
                        compared += 1
    assert compared >= 2


def test_autoattacks_column_is_autoattack(network, images, standard: Evaluation, short_autoattack):
    """Verdicts and images of the second batch are those of a call with seed 3 + 10."""
    pictures, labels = images.subset(torch.arange(10, 20))
    result = AutoAttack(10).run(network, pictures, labels, THREAT, torch.Generator().manual_seed(13))
    assert standard.verdicts.held("autoattack")[10:].tolist() == result.held.tolist()
    assert standard.verdicts.table["autoattack_broken_by"].to_pylist()[10:] == result.broken_by
    shown = {picture.numpy().tobytes(): row for row, picture in enumerate(standard.gallery["clean"])}
    broken = (~result.held & (result.adversarial != pictures).flatten(1).any(1)).nonzero().squeeze(1).tolist()
    rows = [(i, shown[key]) for i in broken if (key := pictures[i].numpy().tobytes()) in shown]
    assert rows
    assert all(torch.equal(result.adversarial[i], standard.gallery["adversarial"][row]) for i, row in rows)


def test_nothing_of_the_caller_is_touched(network, images, short_autoattack):
    mine = copy.deepcopy(network).train()
    mine[1].eval()
    before = {name: tensor.clone() for name, tensor in mine.state_dict().items()}
    torch.manual_seed(11)
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    evaluate_model(mine, images, ThreatModel("linf", 0.5), test_images=4, device="cpu")
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)
    assert [module.training for module in mine] == [True, False, True, True, True]
    assert all(torch.equal(tensor, before[name]) for name, tensor in mine.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in mine.parameters())


def test_two_evaluations_are_equal_and_another_seed_is_not(network, images):
    first, second, other = (quick(network, images, seed=seed, checks=False) for seed in (3, 3, 4))
    assert first.verdicts.table.equals(second.verdicts.table, check_metadata=True)
    assert all(torch.equal(tensor, second.gallery[name]) for name, tensor in first.gallery.items())
    assert not torch.equal(first.gallery["adversarial"], other.gallery["adversarial"])


def test_the_result_is_complete_and_survives_json(network, images, standard: Evaluation):
    result = json.loads(json.dumps(standard.result))
    assert result == standard.result
    assert set(result) == {
        "schema", "key", "complete", "planned", "robust_accuracy", "figures", "threat", "budget", "attacks", "n",
        "sample", "seed", "batch_size", "precision", "data", "model", "versions", "seconds", "analyses", "warnings",
        "per_class", "confusion", "calibration",
        "created", "checks", "masking_suspected", "judged_again", "preflight", "eot", "probe",
    }  # fmt: skip
    assert list(result["figures"]) == ["clean", "fgsm", "pgd20", "autoattack"]
    assert list(result["attacks"]) == list(result["seconds"]) == ["fgsm", "pgd20", "autoattack"]
    assert result["threat"] == {"norm": "linf", "eps": 0.08}
    assert (result["n"], result["sample"], result["seed"], result["batch_size"]) == (20, "first", 3, 10)
    assert (result["complete"], result["precision"]) == (True, "fp32")
    assert result["planned"] == {"n": 20, "attacks": ["fgsm", "pgd20", "autoattack"]}
    assert result["data"]["n_total"] == 360
    assert result["data"]["classes"] == [str(digit) for digit in range(10)]
    assert result["model"]["parameters"] == sum(p.numel() for p in network.parameters())
    assert set(result["versions"]) == {
        "toughen", "python", "torch", "torchvision", "numpy", "pyautoattack", "platform", "device"
    }  # fmt: skip
    assert result["versions"]["python"] == sys.version.split()[0]
    assert all(seconds > 0 for seconds in result["seconds"].values())


def test_the_headline_is_the_worst_case(standard: Evaluation):
    rows = standard.verdicts.table.to_pylist()
    worst = [row["clean"] and row["fgsm"] and row["pgd20"] and row["autoattack"] for row in rows]
    assert standard.result["robust_accuracy"]["held"] == sum(worst)
    assert standard.result["figures"]["clean"]["held"] == sum(row["clean_prediction"] == row["label"] for row in rows)
    assert 0 < sum(worst) < len(worst)


def test_the_table_knows_its_protocol(standard: Evaluation):
    protocol = standard.verdicts.about["protocol"]
    for name in ("threat", "budget", "attacks", "n", "sample", "seed", "batch_size", "data", "model"):
        assert protocol[name] == standard.result[name]


def test_the_data_hash_is_of_the_images_that_were_attacked(network, images):
    def with_images(pixels: Tensor, labels: Tensor) -> ImageSet:
        return replace(images, images=Decoded(pixels), labels=labels)

    def hash_of(given: ImageSet, **settings) -> str:
        return quick(network, given, checks=False, **settings).result["data"]["sha256"]

    pixels, labels = images.images.take(torch.arange(30)), images.labels[:30]
    reference = hash_of(with_images(pixels, labels))
    changed_after = pixels.clone()
    changed_after[25] += 1
    assert hash_of(with_images(changed_after, labels), batch_size=7) == reference
    changed = pixels.clone()
    changed[19, 0, 7, 7] += 1
    assert hash_of(with_images(changed, labels)) != reference
    other_label = labels.clone()
    other_label[0] = (labels[0] + 1) % 10
    assert hash_of(with_images(pixels, other_label)) != reference


LABELS = torch.arange(10).repeat_interleave(36)


def test_a_random_sample_is_seeded_and_nested():
    ten, twenty = choose_images(LABELS, 10, "random", 5), choose_images(LABELS, 20, "random", 5)
    assert ten.tolist() == twenty.tolist()[:10]
    assert len(set(twenty.tolist())) == 20
    assert choose_images(LABELS, 10, "random", 6).tolist() != ten.tolist()
    assert sorted(choose_images(LABELS, None, "random", 5).tolist()) == list(range(360))


def test_a_sample_by_class_is_nested_and_the_same_for_every_seed():
    """Runs of other seeds pair image by image."""
    ten, whole = choose_images(LABELS, 10, "by_class", 5), choose_images(LABELS, None, "by_class", 6)
    assert ten.tolist() == whole.tolist()[:10]
    assert sorted(whole.tolist()) == list(range(360))


def in_order_of_classes(images: ImageSet, classes: list[int]) -> ImageSet:
    order = torch.cat([(images.labels == number).nonzero().squeeze(1) for number in classes])
    return replace(images, images=Decoded(images.images.take(order)), labels=images.labels[order])


def test_a_sample_of_sorted_data_has_the_figure_of_all(network, images):
    """360 digits in the order of their classes, the most robust class first: the sample's interval holds all's figure.

    The first ones' does not, and that is said.
    """
    about = {"checks": False, "batch_size": 90}
    whole = quick(network, images, test_images=None, **about)
    table, accuracy = whole.verdicts.table, whole.result["robust_accuracy"]["accuracy"]
    labels = np.array(table["label"].to_pylist())
    held = whole.verdicts.held("fgsm") & whole.verdicts.held("pgd20_margin")
    classes = sorted(range(10), key=lambda number: -held[labels == number].mean())
    in_order = in_order_of_classes(images, classes)
    sample = quick(network, in_order, test_images=90, sample="by_class", **about).result["robust_accuracy"]
    assert sample["interval"][0] < accuracy < sample["interval"][1]
    with pytest.warns(ToughenWarning, match=r"the 90 evaluated images are not like the 360 .*sample=by_class"):
        first = quick(network, in_order, test_images=90, **about).result
    assert accuracy < first["robust_accuracy"]["interval"][0]
    assert [finding["name"] for finding in first["preflight"]] == ["classes_unseen", "sample_unlike_set"]
    assert any("not like the 360" in warning for warning in first["warnings"])


def test_the_default_sample_is_drawn_by_class(network, images, recwarn):
    in_order = in_order_of_classes(images, list(range(10)))
    given = {"budget": "quick", "test_images": 20, "checks": False, "device": "cpu"}
    evaluation = evaluate_model(network, in_order, THREAT, **given)
    labels = torch.tensor(evaluation.verdicts.table["label"].to_pylist())
    assert labels.bincount(minlength=10).tolist() == pytest.approx([2] * 10, abs=1)
    assert evaluation.result["sample"] == "by_class"
    assert not [warning for warning in recwarn if issubclass(warning.category, ToughenWarning)]


def test_rows_carry_the_index_and_label_of_a_random_sample(network, images):
    table = quick(network, images, sample="random").verdicts.table
    indices = torch.tensor(table["index"].to_pylist())
    assert indices.tolist() == choose_images(images.labels, 20, "random", 3).tolist()
    pictures, labels = images.subset(indices)
    assert table["label"].to_pylist() == labels.tolist()
    with torch.no_grad():
        assert table["clean_prediction"].to_pylist() == network(pictures).argmax(1).tolist()


def test_predictions_and_confidences_are_the_models(network, images, standard: Evaluation):
    """Clean ones from a plain forward pass, adversarial ones from the images in the gallery."""
    table, gallery = standard.verdicts.table, standard.gallery
    pictures, _ = images.subset(torch.arange(20))
    with torch.no_grad():
        confidences, predictions = network(pictures).softmax(1).max(1)
        shown = network(gallery["adversarial"]).softmax(1).max(1)
    assert table["clean_prediction"].to_pylist() == predictions.tolist()
    assert table["clean_confidence"].to_pylist() == pytest.approx(confidences.tolist())
    assert gallery["adversarial_predictions"].tolist() == shown.indices.tolist()
    assert gallery["adversarial_confidences"].tolist() == pytest.approx(shown.values.tolist(), abs=1e-6)


def test_progress_names_every_step(network, images):
    steps: list[Step] = []
    quick(network, images, progress=steps.append)
    assert [(step.done, step.total, step.attack) for step in steps] == [
        (0, 20, "fgsm"),
        (0, 20, "pgd20_margin"),
        (10, 20, "fgsm"),
        (10, 20, "pgd20_margin"),
        (20, 20, "self_checks"),
        (20, 20, ""),
    ]
    assert [step.left is None for step in steps] == [True, True, False, False, True, False]
    assert steps[2].left > 0
    assert steps[5].left == 0


def test_probabilities_are_doubted(network, images):
    softened = nn.Sequential(network, nn.Softmax(1))
    with pytest.warns(ToughenWarning, match="look like probabilities"):
        result = quick(softened, images).result
    assert any("look like probabilities" in warning for warning in result["warnings"])
    assert quick(network, images).result["warnings"] == []


class Poisoned(nn.Module):
    """NaN for every image whose first row is dark."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        logits = self.network(images)
        dark = images[:, 0, 0, :4].sum(1) < 0.3
        return torch.where(dark[:, None], torch.nan, logits)


def test_nan_is_wrong_and_doubted(network, images):
    with pytest.warns(ToughenWarning, match="NaN"):
        evaluation = quick(Poisoned(network), images)
    pictures, _ = images.subset(torch.arange(20))
    dark = pictures[:, 0, 0, :4].sum(1) < 0.3
    assert 0 < int(dark.sum()) < 20
    predictions = torch.tensor(evaluation.verdicts.table["clean_prediction"].to_pylist())
    assert torch.equal(predictions == -1, dark)
    assert not evaluation.verdicts.held("clean")[dark.numpy()].any()


class Stepped(nn.Module):
    """Rounds the images: no gradient, but no defence either."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network((images * 8).round() / 8)


def test_a_masked_gradient_is_doubted(network, images, short_autoattack):
    """Square breaks what the gradient attacks could not: the result says so beside the figure."""
    threat = ThreatModel("linf", 0.3)
    with pytest.warns(ToughenWarning, match="zero or not finite for 100"):
        result = evaluate_model(Stepped(network), images, threat, test_images=8, device="cpu").result
    assert "black_box_never_wins" in result["masking_suspected"]
    assert any("gradient is zero" in warning for warning in result["warnings"])
    assert result["robust_accuracy"]["accuracy"] < result["figures"]["pgd20"]["accuracy"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"precision": "fp16"}, "precision: unknown 'fp16'"),
        ({"time_limit": 0.0}, "time_limit: expected seconds"),
        ({"test_images": 361}, r"test_images: expected 1 \.\. 360"),
        ({"test_images": 0}, "test_images: expected at least 1"),
        ({"batch_size": 0}, "batch_size: expected at least 1"),
        ({"sample": "frist"}, "did you mean 'first'"),
        ({"budget": "fastest"}, "budget: unknown 'fastest'; did you mean 'fast'"),
        ({"device": "tpu9"}, "device: expected auto, .*, got 'tpu9'"),
    ],
)
def test_settings_out_of_range(network, images, settings: dict, message: str):
    with pytest.raises(InputError, match=message):
        quick(network, images, **settings)


def test_a_model_of_other_classes_is_refused(network, images):
    with pytest.raises(InputError, match="one logit for each of the data's 10 classes"):
        quick(nn.Sequential(network, nn.Linear(10, 7)), images)


def test_labels_outside_the_classes_are_refused(network, images):
    with pytest.raises(InputError, match="labels"):
        quick(network, replace(images, labels=images.labels + 5))


def test_saved_files_read_back(tmp_path, standard: Evaluation):
    folder = RunFolder(tmp_path / "run")
    folder.create()
    standard.save(folder)
    loaded = Evaluation.load(folder)
    assert loaded.result == standard.result
    assert loaded.verdicts.table.equals(standard.verdicts.table, check_metadata=True)
    assert loaded.gallery.keys() == standard.gallery.keys()
    assert all(torch.equal(tensor, standard.gallery[name]) for name, tensor in loaded.gallery.items())
    assert (loaded.reused, standard.reused) == (True, False)
