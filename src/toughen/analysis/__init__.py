"""Why a network withstands or does not, one explanation a file; `toughen analyze RUN`."""

from typing import TYPE_CHECKING

from toughen.lazy import lazy_names

if TYPE_CHECKING:
    from toughen.analysis.black_box import BlackBox
    from toughen.analysis.bound import RiskBound
    from toughen.analysis.conflict import GradientConflict
    from toughen.analysis.distillation import Distillation
    from toughen.analysis.explanation import Explained, Explanation, Figure, Insight, Picture, Training
    from toughen.analysis.features import Features
    from toughen.analysis.images import HardImages
    from toughen.analysis.mixture import MixtureDistribution
    from toughen.analysis.outputs import OutputDistributions
    from toughen.analysis.saliency import Saliency
    from toughen.analysis.surface import LossSurface

__all__ = [
    "BlackBox",
    "Distillation",
    "Explained",
    "Explanation",
    "Features",
    "Figure",
    "GradientConflict",
    "HardImages",
    "Insight",
    "LossSurface",
    "MixtureDistribution",
    "OutputDistributions",
    "Picture",
    "RiskBound",
    "Saliency",
    "Training",
]  # fmt: skip

__getattr__, __dir__ = lazy_names(__name__, __file__)
