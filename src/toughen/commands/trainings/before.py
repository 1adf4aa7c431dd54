"""The network that a run starts from, attacked before it is trained, so that its report can say what training did."""

import torch
from torch import nn

from toughen.commands.evaluations.into_folder import evaluate_into
from toughen.commands.trainings.request import RunRequest
from toughen.data import ImageSet
from toughen.evaluation import EvaluationSettings, Processes
from toughen.models.state import copied
from toughen.random_state import own_random_state
from toughen.reports.notebook import usual_progress
from toughen.run import RunFolder


def evaluate_start(asked: RunRequest, network: nn.Module, test_set: ImageSet, device: torch.device) -> None:
    """Attack the network on the images of the final evaluation, and keep what was found in the run's `before/`.

    By the quick budget unless `before` says another: what that leaves of an untreated network, stronger attacks leave
    less of. Nothing of the training is chosen by it, and what is there already is not computed again.
    """
    settings, progress = asked.settings, asked.given["progress"] or usual_progress()
    with own_random_state(), Processes.from_environment() as processes:
        evaluate_into(
            RunFolder(asked.folder.before),
            copied(network).to(device).eval(),
            test_set,
            settings["threat"],
            EvaluationSettings(
                budget=settings["before"],
                test_images=min(settings["test_images"] or len(test_set), len(test_set)),
                sample=settings["sample"],
                seed=settings["seed"],
                checks=False,
                device=str(device),
            ),
            processes=processes,
            progress=progress,
        )
