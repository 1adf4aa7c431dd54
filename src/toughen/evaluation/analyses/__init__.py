"""Studies of a model beside the attacks, one a file; `toughen evaluate RUN --analyses EpsCurve,Corruptions`."""

from typing import TYPE_CHECKING

from toughen.lazy import lazy_names

if TYPE_CHECKING:
    from toughen.evaluation.analyses.corruptions import Corruptions
    from toughen.evaluation.analyses.decision_based import DecisionBased
    from toughen.evaluation.analyses.eps_curve import EpsCurve
    from toughen.evaluation.analyses.minimum_norm import MinimumNorm
    from toughen.evaluation.analyses.other_norms import OtherNorms

__all__ = ["Corruptions", "DecisionBased", "EpsCurve", "MinimumNorm", "OtherNorms"]

__getattr__, __dir__ = lazy_names(__name__, __file__)
