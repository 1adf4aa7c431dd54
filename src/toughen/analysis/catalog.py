"""The explanations by the names that they are asked for with."""

from collections.abc import Sequence

from toughen.analysis.black_box import BlackBox
from toughen.analysis.bound import RiskBound
from toughen.analysis.conflict import GradientConflict
from toughen.analysis.distillation import Distillation
from toughen.analysis.explanation import Explanation
from toughen.analysis.features import Features
from toughen.analysis.images import HardImages
from toughen.analysis.mixture import MixtureDistribution
from toughen.analysis.outputs import OutputDistributions
from toughen.analysis.saliency import Saliency
from toughen.analysis.surface import LossSurface
from toughen.errors import InputError, did_you_mean

EXPLANATIONS: dict[str, type[Explanation]] = {
    "conflict": GradientConflict,
    "mixture": MixtureDistribution,
    "surface": LossSurface,
    "outputs": OutputDistributions,
    "features": Features,
    "saliency": Saliency,
    "bound": RiskBound,
    "black_box": BlackBox,
    "images": HardImages,
    "distillation": Distillation,
}


def chosen(names: Sequence[str] = ()) -> dict[str, Explanation]:
    """These explanations with their default settings, in the order of the page; none named: all.

    Raises:
        InputError: an unknown name.

    >>> list(chosen(["bound", "conflict"]))
    ['conflict', 'bound']
    """
    for name in names:
        if name not in EXPLANATIONS:
            raise InputError(f"only: unknown explanation {name!r}; {did_you_mean(name, EXPLANATIONS)}")
    return {name: make() for name, make in EXPLANATIONS.items() if not names or name in names}
