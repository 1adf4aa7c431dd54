"""A batch under attack that does not fit into memory: the same batch, the model asked for it in parts."""

import gc
import traceback
import warnings
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

from toughen.errors import RunError, ToughenWarning
from toughen.evaluation.plan import EvaluationPlan
from toughen.hardware.memory import is_out_of_memory
from toughen.models.deadline import Deadline
from toughen.models.inference import frozen
from toughen.models.sparing import image_by_image

T = TypeVar("T")
MORE = 4
"""Times as many parts after every pass that did not fit."""


class Memory:
    """How many images a model is asked for at once, as an evaluation finds it out.

    A batch keeps its images, its seed and so its random starts (see decision 6): only the model's passes become
    smaller. Of a model in eval mode that answers for each image by itself the verdicts are the same, but for rounding.

    Args:
        deadline: that of the evaluation.
        plan: what is evaluated.
    """

    def __init__(self, deadline: Deadline, plan: EvaluationPlan) -> None:
        self.deadline, self.plan, self.parts = deadline, plan, 1

    def asked(self, model: nn.Module) -> nn.Module:
        """The model, asked in as many parts as are needed."""
        return self.deadline.watching(model, self.parts)

    def enough_for(self, compute: Callable[[nn.Module], T], model: nn.Module) -> T:
        """What is computed with a model, which is asked in more parts until memory suffices.

        Args:
            compute: given the model; each time from the same seeds.
            model: frozen.

        Raises:
            RunError: it does not suffice, or the model's answers depend on the rest of the batch.
        """
        while True:
            try:
                return compute(self.asked(model))
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                traceback.clear_frames(error.__traceback__)
            self._make_more()

    def _make_more(self) -> None:
        plan, size = self.plan, self.plan.spec.size
        gc.collect()
        if plan.device.type == "cuda":
            torch.cuda.empty_cache()
        short = f"the memory of {plan.device} does not suffice for {size} images under attack"
        instead = f"take --batch_size {max(1, size // 2)}, which is another evaluation: random starts are by batch"
        if self.parts >= size:
            raise RunError(f"{short}, not even for one at a time; {instead}")
        if self.parts == 1:
            if not self._image_by_image():
                raise RunError(
                    f"{short}, and the model's answer for an image depends on the others, or on chance; {instead}"
                )
            warnings.warn(
                f"{short}: the model is asked for parts of a batch from here on, with the same verdicts",
                ToughenWarning,
                stacklevel=2,
            )
        self.parts *= MORE

    def _image_by_image(self) -> bool:
        plan = self.plan
        two = plan.images.subset(plan.indices[:2])[0].to(plan.device)
        with frozen(plan.model, plan.device) as model:
            try:
                return image_by_image(model, two)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                return True  # the parts say that they do not fit
