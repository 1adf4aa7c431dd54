"""A whole evaluation from two to two hundred classes, gray and colour, 8 x 8 to 224 x 224."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from toughen.attacks import FGSM, PGD
from toughen.attacks.apgd import APGD
from toughen.data import ImageSet
from toughen.data.source import Decoded
from toughen.evaluation import evaluate_model
from toughen.threat import Norm, ThreatModel


@pytest.mark.filterwarnings("ignore:eps :toughen.errors.ToughenWarning")  # untrained networks break at once
@pytest.mark.parametrize(
    ("num_classes", "channels", "size", "norm", "eps"),
    [
        (2, 1, 8, "linf", 0.04),
        pytest.param(2, 3, 32, "l2", 0.1, marks=pytest.mark.nightly),
        pytest.param(3, 1, 28, "l2", 0.1, marks=pytest.mark.nightly),
        (3, 3, 8, "linf", 0.02),
        (10, 1, 28, "linf", 0.01),
        pytest.param(10, 3, 8, "l1", 0.25, marks=pytest.mark.nightly),
        (37, 3, 32, "l2", 0.025),
        pytest.param(37, 1, 64, "linf", 0.001, marks=pytest.mark.nightly),
        (200, 1, 8, "l2", 0.05),
        pytest.param(200, 3, 64, "linf", 0.0005, marks=pytest.mark.nightly),
        pytest.param(10, 3, 112, "linf", 0.0005, marks=pytest.mark.nightly),
        pytest.param(3, 1, 224, "l1", 2.1, marks=pytest.mark.nightly),
        pytest.param(200, 3, 224, "l2", 0.048, marks=pytest.mark.nightly),
    ],
)
def test_verdicts_are_those_of_the_attacks(
    untrained, images: ImageSet, num_classes: int, channels: int, size: int, norm: Norm, eps: float
):
    """Each column is what the attack, called directly with the batch's seed, does to the images."""
    network, pictures, labels = untrained(num_classes, channels, size)
    stored = (255 * pictures).round().byte()
    pictures = stored.float() / 255
    with torch.no_grad():
        labels = network(pictures).argmax(1)
    labels[0] = (labels[0] + 1) % num_classes
    classes = tuple(f"class {label}" for label in range(num_classes))
    given = replace(images, images=Decoded(stored), labels=labels, classes=classes)
    threat = ThreatModel(norm, eps)
    evaluation = evaluate_model(
        network, given, threat, budget="quick", sample="first", batch_size=2, seed=7, device="cpu"
    )
    assert evaluation.verdicts.held("clean").tolist() == [False] + [True] * (len(labels) - 1)
    iterative = APGD(20, 5) if norm == "l1" else PGD(20, restarts=5, keep_best=True, loss="margin")
    attacks = {"fgsm": FGSM(), "apgd20" if norm == "l1" else "pgd20_margin": iterative}
    assert evaluation.verdicts.attacks == tuple(attacks)
    for name, attack in attacks.items():
        expected = []
        for start in range(0, len(labels), 2):
            x, y = pictures[start : start + 2], labels[start : start + 2]
            found = attack.run(network, x, y, threat, torch.Generator().manual_seed(7 + start)).adversarial
            with torch.no_grad():
                expected += (network(found).argmax(1) == y).tolist()
        expected[0] = False
        assert evaluation.verdicts.held(name).tolist() == expected
    assert 0 < np.sum(evaluation.verdicts.robust()) < len(labels) - 1
    assert evaluation.result["masking_suspected"] == []
    unjudged = [check["name"] for check in evaluation.result["checks"] if check["passed"] is None]
    assert unjudged == []
