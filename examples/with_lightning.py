"""A LightningModule: python examples/with_lightning.py"""

import lightning
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import toughen
from toughen.methods import TRADES, Method, ModelWithLoss


class Hardening(lightning.LightningModule):
    """A network that learns by a method. Parameters and state of both are Lightning's to move, share and save."""

    def __init__(self, model: nn.Module, method: Method, first: tuple[Tensor, Tensor]) -> None:
        super().__init__()
        self.step = ModelWithLoss(model, method)
        self.first = first

    def on_train_epoch_start(self) -> None:
        """Show the method the first images."""
        self.step.begin_epoch(self.current_epoch, *(part.to(self.device) for part in self.first))

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], number: int) -> Tensor:
        """The loss of a batch."""
        loss = self.step(*batch)
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """One optimiser for the network and what the method learns."""
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)


def train(
    model: nn.Module, method: Method, batches: DataLoader, first: tuple[Tensor, Tensor], epochs: int
) -> nn.Module:
    """Train by a method, which looks at the first images before an epoch; gives the network to evaluate."""
    module = Hardening(model, method, first)
    lightning.Trainer(max_epochs=epochs, logger=False, enable_checkpointing=False).fit(module, batches)
    return module.step.classifier.eval()


def main() -> None:
    """Train on digits for a few epochs, and evaluate."""
    lightning.seed_everything(0)
    data = toughen.data.Digits().load("train")
    images, labels = data.subset(torch.arange(len(data)))
    batches = DataLoader(TensorDataset(images, labels, torch.arange(len(data))), batch_size=128, shuffle=True)
    first = (images[:1000], labels[:1000])
    network = train(toughen.models.SmallCNN(10, 1), TRADES().under(eps=0.1), batches, first, epochs=5)
    test_images, test_labels = toughen.data.Digits().load("test").subset(torch.arange(100))
    print(toughen.evaluate(network.cpu(), test_images, test_labels, eps=0.1, budget="quick"))


if __name__ == "__main__":
    main()
