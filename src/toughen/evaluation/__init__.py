"""Evaluation: a model, images and a threat model in; a verdict an image out, and every figure from those."""

from toughen.evaluation.analysis import Analysis, Scene
from toughen.evaluation.attacks.autoattack import AutoAttackResult, auto_attack
from toughen.evaluation.attacks.budgets import Budget, attacks_of
from toughen.evaluation.attacks.mixed import SearchPrecision
from toughen.evaluation.attacks.named import NamedAttack
from toughen.evaluation.attacks.transfer import Transfer
from toughen.evaluation.evaluate import carry_out, evaluate_model
from toughen.evaluation.figures.requirement import Requirement, Ruling
from toughen.evaluation.figures.statistics import clopper_pearson, holm, mcnemar, wilson
from toughen.evaluation.load import load_model, with_weights
from toughen.evaluation.pace import Progress, Step
from toughen.evaluation.records.merge import find_parts, merge_parts
from toughen.evaluation.records.outline import Outline
from toughen.evaluation.records.shards import Crew, Shard
from toughen.evaluation.records.verdicts import Verdicts
from toughen.evaluation.result import Evaluation
from toughen.evaluation.task import BatchSize, Sample, Task, prepare

__all__ = [
    "Analysis",
    "AutoAttackResult",
    "BatchSize",
    "Budget",
    "Crew",
    "Evaluation",
    "NamedAttack",
    "Outline",
    "Progress",
    "Requirement",
    "Ruling",
    "Sample",
    "Scene",
    "SearchPrecision",
    "Shard",
    "Step",
    "Task",
    "Transfer",
    "Verdicts",
    "attacks_of",
    "auto_attack",
    "carry_out",
    "clopper_pearson",
    "evaluate_model",
    "find_parts",
    "holm",
    "load_model",
    "mcnemar",
    "merge_parts",
    "prepare",
    "wilson",
    "with_weights",
]
