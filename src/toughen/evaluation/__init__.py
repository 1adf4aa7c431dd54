"""Evaluation: a model, images and a threat model in; a verdict an image out, and every figure from those."""

from toughen.evaluation.analysis import Analysis, Scene
from toughen.evaluation.autoattack import AutoAttackResult, auto_attack
from toughen.evaluation.budgets import Budget, attacks_of
from toughen.evaluation.evaluate import carry_out, evaluate_model
from toughen.evaluation.load import load_model, with_weights
from toughen.evaluation.merge import find_parts, merge_parts
from toughen.evaluation.mixed import SearchPrecision
from toughen.evaluation.named import NamedAttack
from toughen.evaluation.outline import Outline
from toughen.evaluation.pace import Progress, Step
from toughen.evaluation.requirement import Requirement, Ruling
from toughen.evaluation.result import Evaluation
from toughen.evaluation.shards import Crew, Shard
from toughen.evaluation.statistics import holm, mcnemar, wilson
from toughen.evaluation.task import Sample, Task, prepare
from toughen.evaluation.transfer import Transfer
from toughen.evaluation.verdicts import Verdicts

__all__ = [
    "Analysis",
    "AutoAttackResult",
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
