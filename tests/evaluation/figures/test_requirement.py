"""A requirement is met only where the whole interval is on its side."""

import pytest

from toughen.errors import InputError
from toughen.evaluation import Requirement

RESULT = {
    "planned": {"n": 100, "attacks": ["fgsm", "pgd20"]},
    "robust_accuracy": {"accuracy": 0.5, "interval": [0.40, 0.60], "n": 100},
    "figures": {
        "clean": {"accuracy": 0.9, "interval": [0.83, 0.94], "n": 100},
        "fgsm": {"accuracy": 0.6, "interval": [0.5, 0.69], "n": 100},
        "pgd20": {"accuracy": 0.5, "interval": [0.40, 0.60], "n": 100},
    },
}
ATTACKS = ["fgsm", "pgd20"]


@pytest.mark.parametrize(
    ("text", "met"),
    [
        ("robust >= 0.4", True),
        ("robust > 0.4", False),
        ("robust >= 0.41", False),
        ("robust >= .5", False),
        ("robust <= 0.6", True),
        ("robust < 0.6", False),
        ("robust <= 0.55", False),
        ("robust>=40%", True),
        ("robust >= 45 %", False),
        ("clean >= 0.8 and robust >= 0.35", True),
        ("clean >= 0.8 and robust >= 0.45", False),
        ("clean >= 0.85 and robust >= 0.35", False),
        ("fgsm >= 0.5 and pgd20 >= 0.4 and clean >= 0", True),
        ("clean <= 1", True),
    ],
)
def test_the_worse_end_of_the_interval_counts(text: str, met: bool):
    ruling = Requirement.parse(text, ATTACKS).judge(RESULT)
    assert ruling.met is met
    assert "\n" not in ruling.reason


@pytest.mark.parametrize(
    ("result", "met", "reason"),
    [
        ({"analyses": {}}, False, "checks: the self-checks did not run"),
        ({"analyses": {"self_checks": {}}, "masking_suspected": []}, True, "checks: none failed"),
        (
            {"analyses": {"self_checks": {}}, "masking_suspected": ["a", "b"]},
            False,
            "checks: gradient masking suspected: a, b",
        ),
    ],
)
def test_checks_must_have_run_and_none_may_have_failed(result: dict, met: bool, reason: str):
    ruling = Requirement.parse("clean >= 0.8 and checks", ATTACKS).judge({**RESULT, **result})
    assert ruling.met is met
    assert ruling.reason.endswith(reason)


def test_only_what_failed_is_the_reason():
    reason = Requirement.parse("clean >= 0.8 and robust >= 0.45", ATTACKS).judge(RESULT).reason
    assert reason == (
        "robust >= 0.45: robust 0.5000, 95 % interval 0.4000 to 0.6000 (n = 100): lower end 0.4000 below 0.45"
    )


def test_an_upper_bound_names_the_upper_end():
    reason = Requirement.parse("fgsm <= 0.65", ATTACKS).judge(RESULT).reason
    assert reason.endswith("upper end 0.6900 above 0.65")


def test_an_evaluation_without_all_attacks_meets_nothing():
    incomplete = {**RESULT, "planned": {"n": 100, "attacks": ["fgsm", "pgd20", "autoattack"]}}
    ruling = Requirement.parse("robust >= 0.1", ATTACKS).judge(incomplete)
    assert not ruling.met
    assert ruling.reason == "the evaluation is incomplete: autoattack did not run"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("robust", "cannot read 'robust'"),
        ("robust = 0.4", "cannot read"),
        ("robust >= 0.4 and", "cannot read ''"),
        ("robust >= 0.4 or clean >= 0.8", "cannot read"),
        ("robust >= -0.4", "cannot read"),
        ("robsut >= 0.4", "unknown figure 'robsut'; did you mean 'robust'"),
        ("autoattack >= 0.4", "unknown figure 'autoattack'.*Known: clean, fgsm, pgd20, robust"),
        ("robust >= 45", r"expected a share .* did you mean 0\.45\?"),
        ("robust >= 450 %", r"expected a share"),
        ("", "cannot read ''"),
    ],
)
def test_what_cannot_be_required(text: str, message: str):
    with pytest.raises(InputError, match=f"require: .*{message}"):
        Requirement.parse(text, ATTACKS)
