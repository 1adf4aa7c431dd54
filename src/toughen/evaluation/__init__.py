"""Evaluation: a model, images and a threat model in; a verdict an image out, and every figure from those."""

from typing import TYPE_CHECKING

from toughen.lazy import lazy_names

if TYPE_CHECKING:
    from toughen.attacks.base import PlannedAttack
    from toughen.attacks.budgets import Budget, attacks_of
    from toughen.attacks.fast_search import SearchPrecision
    from toughen.attacks.transfer import Transfer
    from toughen.evaluation.analyses.base import Analysis, AnalysisContext
    from toughen.evaluation.plan import EvaluationPlan, prepare
    from toughen.evaluation.progress import Progress, Step
    from toughen.evaluation.records.merge import find_parts, merge_parts
    from toughen.evaluation.records.shards import Shard
    from toughen.evaluation.records.spec import EvaluationSpec
    from toughen.evaluation.records.verdicts import Verdicts
    from toughen.evaluation.requirement import Requirement, RequirementResult
    from toughen.evaluation.result import Accuracy, Evaluation
    from toughen.evaluation.runner import Runner, evaluate_model
    from toughen.evaluation.settings import BatchSize, EvaluationSettings, Sample
    from toughen.evaluation.statistics.intervals import against_the_best, clopper_pearson, holm, mcnemar, wilson
    from toughen.hardware.processes import Processes
    from toughen.models.load import load_model, with_weights

__all__ = [
    "Accuracy",
    "Analysis",
    "AnalysisContext",
    "BatchSize",
    "Budget",
    "Evaluation",
    "EvaluationPlan",
    "EvaluationSettings",
    "EvaluationSpec",
    "PlannedAttack",
    "Processes",
    "Progress",
    "Requirement",
    "RequirementResult",
    "Runner",
    "Sample",
    "SearchPrecision",
    "Shard",
    "Step",
    "Transfer",
    "Verdicts",
    "against_the_best",
    "attacks_of",
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

__getattr__, __dir__ = lazy_names(__name__, __file__)
