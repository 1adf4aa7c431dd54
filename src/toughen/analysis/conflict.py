"""Do the parts of a method's loss pull the shared weights apart?"""

from torch import Tensor

from toughen.analysis.course import conflict_course
from toughen.analysis.explanation import (
    Explained,
    Explanation,
    Figure,
    Insight,
    Picture,
    Training,
    interval_text,
    mean_of,
    share_of,
)
from toughen.batch import Batch
from toughen.models.mode import buffers_kept, flags_kept
from toughen.random_state import seeded
from toughen.training.trace.gradients import term_cosines, term_gradients


class GradientConflict(Explanation):
    """Cosine between the gradients of each pair of loss terms, by layers and in all, over batches of training images.

    Below zero a step that lowers one term raises the other. AR-AT's paper finds it between the invariance term and the
    cross-entropies, and removes it by a stop-gradient and a predictor.

    Args:
        batches: at most so many batches of training images.
    """

    title = "Gradient conflict"
    source = "Waseda et al. 2025 (AR-AT); Yu et al. 2020 (gradient surgery)"

    def __init__(self, batches: int = 8) -> None:
        self.batches = batches

    def passes(self, images: int) -> float:
        """About an attack of ten steps and three terms on each batch of 64."""
        return 64 * 45.0 * self.batches

    def explain(self, explained: Explained) -> Insight | None:
        """Cosines of every pair of terms."""
        course, curves = conflict_course(explained.record)
        training = explained.training
        if training is None:
            return Insight(curves[0].sees, course, curves) if curves else None
        with seeded(explained.seed):
            batches = training.batches[: self.batches]
            found = [term_cosines(gradients_in_training(training, batch)) for batch in batches]
        pairs = list(found[0]) if found else []
        if not pairs:
            return Insight("The loss has one term that reaches the network, so nothing can conflict.")
        figures: dict[str, Figure] = dict(course)
        for pair in pairs:
            cosines = [each[pair]["all"] for each in found]
            figures[f"cosine/{pair}"] = mean_of(
                cosines, f"cosine of the gradients of {pair}, over batches", over="batches"
            )
            figures[f"conflicting/{pair}"] = share_of(
                [cosine < 0 for cosine in cosines], f"batches on which {pair} pull apart", "low", over="batches"
            )
        groups = [name for name in found[0][pairs[0]] if name != "all"]
        grid = [[mean_of([each[pair][group] for each in found], "").value for group in groups] for pair in pairs]
        worst = min(pairs, key=lambda pair: figures[f"cosine/{pair}"].value)
        least = figures[f"cosine/{worst}"]
        says = "pull apart" if least.value < 0 else "do not pull apart on average"
        sentence = f"{worst} {says}: their gradients have cosine {interval_text(least)} over {least.n} batches."
        picture = Picture(
            "grid",
            "Mean cosine by layers",
            "From left to right through the network: below 0 the two terms pull a layer's weights apart.",
            {"values": grid, "rows": pairs, "columns": groups, "range": (-1, 1)},
        )
        columns = {pair: [each[pair]["all"] for each in found] for pair in pairs}
        return Insight(sentence, figures, [picture, *curves], {"batch": list(range(len(found))), **columns})


def gradients_in_training(training: Training, batch: Batch) -> dict[str, dict[str, Tensor | None]]:
    """`term_gradients` in the mode that the network trains in; its statistics, and the flags, stay as they were."""
    model, method = training.model, training.method
    with buffers_kept(model), buffers_kept(method), flags_kept(model):
        model.train()
        return term_gradients(model, method, batch, method.perturb(model, batch))
