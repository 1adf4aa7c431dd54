"""Evaluation: a model, images and a threat model in; a verdict an image out, and every figure from those."""

from toughen.evaluation.autoattack import AutoAttackResult, auto_attack
from toughen.evaluation.budgets import Budget, NamedAttack, attacks_of
from toughen.evaluation.evaluate import Evaluation, Progress, Sample, evaluate_model
from toughen.evaluation.load import load_model, with_weights
from toughen.evaluation.statistics import holm, mcnemar, wilson
from toughen.evaluation.verdicts import Verdicts

__all__ = [
    "AutoAttackResult",
    "Budget",
    "Evaluation",
    "NamedAttack",
    "Progress",
    "Sample",
    "Verdicts",
    "attacks_of",
    "auto_attack",
    "evaluate_model",
    "holm",
    "load_model",
    "mcnemar",
    "wilson",
    "with_weights",
]
