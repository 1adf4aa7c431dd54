"""What several networks, on the same images, have in common, and how far their figures differ."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from toughen.analysis.explanation import Explained, Figure, Insight, Picture
from toughen.analysis.features import features_of
from toughen.analysis.images import failures
from toughen.analysis.measures.features import linear_cka
from toughen.analysis.measures.images import overlap


@dataclass(frozen=True)
class Explanations:
    """What was found for each network.

    Attributes:
        insights: by explanation, then by network, both in the order that they were asked for.
        shared: what two or more networks have in common, by name.
        images: how many images of the test set were looked at.
        attack: what perturbed them.
        weights: SHA-256 of the file of each network's weights, where there is one.
    """

    insights: Mapping[str, Mapping[str, Insight]]
    shared: Mapping[str, Insight]
    images: int
    attack: str
    weights: Mapping[str, str] = field(default_factory=dict)

    def differences(self, explanation: str) -> dict[str, dict[str, Figure]]:
        """For each network but the first, its figures less the first one's, paired by images; see `Figure.less`."""
        (_, first), *others = self.insights[explanation].items()
        return {
            name: {
                figure: difference
                for figure, each in insight.figures.items()
                if figure in first.figures and (difference := each.less(first.figures[figure])) is not None
            }
            for name, insight in others
        }


def in_common(networks: Sequence[Explained]) -> dict[str, Insight]:
    """Overlap of the failures and likeness of the clean features of each pair of networks; nothing for one."""
    if len(networks) < 2:
        return {}
    names = [each.name for each in networks]
    failed = [failures(each) for each in networks]
    overlaps = [[overlap(first, second) for second in failed] for first in failed]
    everywhere = int(torch.stack(failed).all(dim=0).sum())
    sentence = f"{everywhere} of {len(failed[0])} images are broken for all {len(names)} networks."
    found = {"failures": _insight("Overlap of failures (Jaccard)", sentence, names, overlaps)}
    features = {each.name: both[0] for each in networks if (both := features_of(each)) is not None}
    if len(features) > 1:
        likeness = [[linear_cka(first, second) for second in features.values()] for first in features.values()]
        sentence = "1 is the same representation up to rotation and scale."
        found["features"] = _insight("CKA of clean features", sentence, list(features), likeness)
    return found


def _insight(title: str, sentence: str, names: list[str], values: list[list[float]]) -> Insight:
    grid = {"values": values, "rows": names, "columns": names, "range": (0, 1)}
    columns = {name: [row[place] for row in values] for place, name in enumerate(names)}
    return Insight(sentence, {}, [Picture("grid", title, sentence, grid)], {"network": names, **columns})
