"""One unit of an evaluation computed: some images without an attack, or under one."""

import copy
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from toughen.attacks.base import PlannedAttack
from toughen.batch import Batch
from toughen.evaluation.gallery import candidates
from toughen.evaluation.memory import Memory
from toughen.evaluation.plan import EvaluationPlan
from toughen.evaluation.records.batches import CLEAN, BatchResult, attack_table, clean_table
from toughen.evaluation.verify import Clean, Outcome, judge, judge_again, judge_clean
from toughen.models.inference import frozen
from toughen.random_state import seeded


class Units:
    """Computes the units of an evaluation.

    Args:
        plan: what is evaluated.
        memory: how many images the model is asked for at once.
        about: of each unit's `BatchResult`: `versions` and `shard`.
    """

    def __init__(self, plan: EvaluationPlan, memory: Memory, about: Mapping[str, Any]) -> None:
        self.plan, self.memory, self.about = plan, memory, about

    def clean(self, model: nn.Module, rows: Tensor, position: int) -> Clean:
        """Images without an attack.

        Args:
            model: frozen.
            rows: of the verdict table.
            position: of the first image, which the seed follows from.

        Raises:
            InputError: images or labels that do not fit their contract.
        """
        plan, places = self.plan, self.plan.indices[rows]
        batch = Batch(*plan.images.subset(places), places)
        batch.check(len(plan.images.classes))

        def found(model: nn.Module) -> Clean:
            with seeded(plan.settings.seed + position):
                return judge_clean(model, batch, plan.device, plan.settings.eot)

        return self.memory.enough_for(found, model)

    def unattacked(self, number: int, clean: Clean) -> BatchResult:
        """The unit of a batch that needs no attack."""
        return BatchResult(number, CLEAN, clean_table(clean, _places(clean)), **self.about)

    def attacked(
        self,
        model: nn.Module,
        number: int,
        attack: PlannedAttack,
        clean: Clean,
        survivors: Tensor | None,
        position: int,
        pictures: bool = True,
    ) -> tuple[BatchResult, Outcome]:
        """A unit under an attack, and its images.

        Args:
            model: frozen.
            number: of the batch.
            attack: what is run.
            clean: its images.
            survivors: see `judge`.
            position: as in `clean`.
            pictures: whether some of its images are kept for the gallery.
        """
        outcome, again = self.memory.enough_for(
            lambda model: self._judged(model, attack, clean, survivors, position), model
        )
        unit = BatchResult(
            number,
            attack.name,
            attack_table(attack.name, outcome, clean, _places(clean)),
            seconds=outcome.seconds,
            warnings=outcome.warnings,
            repeated=outcome.repeated,
            again=again,
            pictures=candidates(position, clean, outcome) if pictures else {},
            **self.about,
        )
        return unit, outcome

    def _judged(
        self, model: nn.Module, attack: PlannedAttack, clean: Clean, survivors: Tensor | None, position: int
    ) -> tuple[Outcome, dict[str, int]]:
        """What an attack achieves, and how a copy sees it again."""
        plan = self.plan
        how: dict[str, Any] = {"seed": plan.settings.seed + position, "passes": plan.settings.eot}
        with seeded(how["seed"]):
            outcome = judge(model, clean, attack, plan.threat, survivors=survivors, **how)
        how["random"] = plan.spec.random
        if plan.fresh is None:
            return outcome, judge_again(None, model, clean, outcome, **how)
        # The copy is copied, so that each batch is the first that it sees.
        with frozen(copy.deepcopy(plan.fresh), plan.device) as fresh:
            return outcome, judge_again(self.memory.asked(fresh), model, clean, outcome, **how)


def _places(clean: Clean) -> Tensor:
    assert clean.batch.indices is not None
    return clean.batch.indices.cpu()
