"""The Trainer of Hugging Face transformers, with one of its image classifiers: python examples/with_hf_trainer.py"""

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import Trainer, TrainerCallback, TrainingArguments, ViTConfig, ViTForImageClassification

import toughen
from toughen.methods import ARR, Method, ModelWithLoss


class BeginEpoch(TrainerCallback):
    """Shows the method the first images before every epoch."""

    def __init__(self, step: ModelWithLoss, first: tuple[Tensor, Tensor]) -> None:
        self.step, self.first = step, first

    def on_epoch_begin(self, args, state, control, **others) -> None:
        """Call `begin_epoch` of the step."""
        self.step.begin_epoch(round(state.epoch), *(part.to(args.device) for part in self.first))


class RobustTrainer(Trainer):
    """A Trainer whose model is a `ModelWithLoss`."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """The loss of a batch; `model` may be wrapped for several devices."""
        loss = model(**inputs)
        return (loss, {"loss": loss}) if return_outputs else loss


def train(
    model: nn.Module, method: Method, data: Dataset, first: tuple[Tensor, Tensor], settings: TrainingArguments
) -> nn.Module:
    """Train by a method, which looks at the first images before an epoch; gives the network to evaluate."""
    step = ModelWithLoss(model, method)  # finds the logits in what networks of transformers give
    RobustTrainer(step, settings, train_dataset=data, callbacks=[BeginEpoch(step, first)]).train()
    return step.classifier.eval()


def main() -> None:
    """Train a small ViT on digits for an epoch, and evaluate."""
    images, labels = toughen.data.Digits().load("train").subset(torch.arange(1400))
    rows = [{"images": x, "labels": y, "indices": i} for i, (x, y) in enumerate(zip(images, labels, strict=True))]
    sizes = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96}
    config = ViTConfig(image_size=8, patch_size=2, num_channels=1, num_labels=10, **sizes)
    settings = TrainingArguments(
        "runs/hf", learning_rate=2e-3, num_train_epochs=8, per_device_train_batch_size=64, save_strategy="no",
        report_to=[], remove_unused_columns=False, seed=0,
    )  # fmt: skip
    network = train(
        ViTForImageClassification(config), ARR().under(eps=0.1), rows, (images[:1000], labels[:1000]), settings
    )
    test_images, test_labels = toughen.data.Digits().load("test").subset(torch.arange(100))
    print(toughen.evaluate(network.cpu(), test_images, test_labels, eps=0.1, budget="quick"))


if __name__ == "__main__":
    main()
