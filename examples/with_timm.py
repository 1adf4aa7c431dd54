"""The loop of timm's train.py, with a task (timm 1.0.24 or later) that is adversarial: python examples/with_timm.py"""

import timm
import torch
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.task import TrainingTask
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import toughen
from toughen.methods import MART, Method, ModelWithLoss


class AdversarialTask(TrainingTask):
    """What `task = ClassificationTask(model, loss)` is in train.py, for a method."""

    def __init__(self, model: nn.Module, method: Method) -> None:
        super().__init__()
        self.step = ModelWithLoss(model, method)

    def forward(self, images: Tensor, labels: Tensor, indices: Tensor | None = None) -> dict[str, Tensor]:
        """The loss, under the name that the loop takes it by."""
        return {"loss": self.step(images, labels, indices)}


def train(
    model: nn.Module, method: Method, batches: DataLoader, first: tuple[Tensor, Tensor], epochs: int, sched: str
) -> nn.Module:
    """Train by a method, which looks at the first images before an epoch; gives the averaged network to evaluate."""
    task = AdversarialTask(model, method).train()
    optimizer = create_optimizer_v2(task, opt="sgd", lr=0.05, momentum=0.9, weight_decay=5e-4)
    scheduler, _ = create_scheduler_v2(optimizer, sched=sched, num_epochs=epochs)
    average = ModelEmaV3(task.step.model, decay=0.9)
    for epoch in range(epochs):
        task.step.begin_epoch(epoch, *first)
        for batch in batches:
            optimizer.zero_grad()
            task(*batch)["loss"].backward()
            optimizer.step()
            average.update(task.step.model)
        scheduler.step(epoch + 1)
    return method.inference_model(average.module).eval()


def main() -> None:
    """Train a network of timm on digits for a few epochs, and evaluate."""
    torch.manual_seed(0)
    images, labels = toughen.data.Digits().load("train").subset(torch.arange(1400))
    batches, first = DataLoader(TensorDataset(images, labels), batch_size=64, shuffle=True), (images, labels)
    model = timm.create_model("resnet10t", num_classes=10, in_chans=1)
    network = train(model, MART().under(eps=0.1), batches, first, epochs=5, sched="cosine")
    test_images, test_labels = toughen.data.Digits().load("test").subset(torch.arange(100))
    print(toughen.evaluate(network, test_images, test_labels, eps=0.1, budget="quick"))


if __name__ == "__main__":
    main()
