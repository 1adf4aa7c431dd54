"""A requirement is met only where the whole interval is on its side."""

import pytest
from scipy.stats import binom

from toughen.errors import InputError
from toughen.evaluation import Requirement

RESULT = {
    "planned": {"n": 100, "attacks": ["fgsm", "pgd20"]},
    "robust_accuracy": {"held": 50, "n": 100},  # exact interval 0.3983 to 0.6017
    "figures": {
        "clean": {"held": 90, "n": 100},  # 0.8238 to 0.9510
        "fgsm": {"held": 60, "n": 100},  # 0.4972 to 0.6967
        "pgd20": {"held": 50, "n": 100},
    },
}
ATTACKS = ["fgsm", "pgd20"]


def doubt(name: str) -> dict[str, str]:
    """What the preflight found."""
    return {"name": name, "severity": "doubt", "message": f"there is {name}"}


@pytest.mark.parametrize(
    ("text", "met"),
    [
        ("robust >= 0.398", True),
        ("robust > 0", True),
        ("robust >= 0.4", False),
        ("robust >= .5", False),
        ("robust <= 0.602", True),
        ("robust <= 0.6", False),
        ("robust <= 0.55", False),
        ("robust>=39%", True),
        ("robust >= 45 %", False),
        ("clean >= 0.8 and robust >= 0.35", True),
        ("clean >= 0.8 and robust >= 0.45", False),
        ("clean >= 0.85 and robust >= 0.35", False),
        ("fgsm >= 0.49 and pgd20 >= 0.39 and clean > 0", True),
        ("clean < 1", True),
    ],
)
def test_the_worse_end_of_the_interval_counts(text: str, met: bool):
    outcome = Requirement.parse(text, ATTACKS).judge(RESULT)
    assert outcome.met is met
    assert "\n" not in outcome.reason


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
        (
            {"analyses": {"self_checks": {}}, "masking_suspected": [], "preflight": [doubt("false_gradients")]},
            False,
            "checks: gradient masking suspected: false_gradients",
        ),
        (
            {"analyses": {"self_checks": {}}, "masking_suspected": [], "preflight": [doubt("chance_level")]},
            True,
            "checks: none failed",
        ),
        (
            {"analyses": {"self_checks": {}}, "checks": [{"name": "a", "passed": None, "message": "no time"}]},
            False,
            "checks: not judged: a (no time)",
        ),
    ],
)
def test_checks_must_have_run_and_none_may_have_failed(result: dict, met: bool, reason: str):
    outcome = Requirement.parse("clean >= 0.8 and checks", ATTACKS).judge({**RESULT, **result})
    assert outcome.met is met
    assert outcome.reason.endswith(reason)


def test_only_what_failed_is_the_reason():
    reason = Requirement.parse("clean >= 0.8 and robust >= 0.45", ATTACKS).judge(RESULT).reason
    assert reason == (
        "robust >= 0.45: robust 0.5000, exact 95 % interval 0.3983 to 0.6017 (n = 100): lower end 0.3983 below 0.45"
    )


def test_an_upper_bound_names_the_upper_end():
    reason = Requirement.parse("fgsm <= 0.65", ATTACKS).judge(RESULT).reason
    assert reason.endswith("upper end 0.6967 above 0.65")


def test_an_evaluation_without_all_attacks_meets_nothing():
    incomplete = {**RESULT, "planned": {"n": 100, "attacks": ["fgsm", "pgd20", "autoattack"]}}
    outcome = Requirement.parse("robust >= 0.1", ATTACKS).judge(incomplete)
    assert not outcome.met
    assert outcome.reason == "the evaluation is incomplete: autoattack did not run"


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
        ("robust >= 0", "met by every model"),
        ("robust <= 100 %", "met by every model"),
        ("robust <= 0", "met by no model"),
        ("robust > 1", "met by no model"),
        ("robust >= 1", "met by no model"),
    ],
)
def test_what_cannot_be_required(text: str, message: str):
    with pytest.raises(InputError, match=f"require: .*{message}"):
        Requirement.parse(text, ATTACKS)


@pytest.mark.parametrize("n", [1, 10, 100, 1000])
@pytest.mark.parametrize("sign", [">=", "<="])
def test_a_model_at_the_bound_passes_by_chance_in_at_most_2_5_per_cent(n: int, sign: str):
    """The sum of the binomial probabilities of all counts that pass, where the true share just misses the bound."""
    for per_mille in (4, 100, 450, 770, 975) if n <= 10 else (4, 450, 975):
        bound = per_mille / 1000
        requirement = Requirement.parse(f"robust {sign} {bound}", [])
        counts = range(n + 1) if n <= 100 else range(max(0, per_mille - 60), min(n, per_mille + 60) + 1)
        passes = [held for held in counts if requirement.judge(_result(held, n)).met]
        chance = sum(binom.pmf(held, n, bound) for held in passes)
        assert chance <= 0.025 + 1e-12, (bound, passes)


def test_too_few_images_are_named():
    assert "10 images are too few to show it" in Requirement.parse("robust >= 0.7", []).judge(_result(10, 10)).reason
    assert "too few" not in Requirement.parse("robust >= 0.6", []).judge(_result(5, 10)).reason


def _result(held: int, n: int) -> dict:
    return {"robust_accuracy": {"held": held, "n": n}, "figures": {}}
