"""A loop on Hugging Face Accelerate, on one device or several.

python examples/with_accelerate.py, or: accelerate launch --cpu --num_processes 2 examples/with_accelerate.py
"""

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import toughen
from toughen.methods import LBGAT, Method, ModelWithLoss


def train(
    model: nn.Module, method: Method, batches: DataLoader, first: tuple[Tensor, Tensor], epochs: int
) -> nn.Module:
    """Train by a method, which looks at the first images before an epoch; gives the network to evaluate."""
    accelerator = Accelerator()
    step = ModelWithLoss(model, method)
    optimizer = torch.optim.SGD(step.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)  # LBGAT's guide too
    # The wrapper sees one forward pass a step, whatever the method computes in it.
    wrapped, optimizer, batches = accelerator.prepare(step, optimizer, batches)
    wrapped.train()
    for epoch in range(epochs):
        step.begin_epoch(epoch, *(part.to(accelerator.device) for part in first))
        for images, labels, indices in batches:
            loss = wrapped(images, labels, indices)
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
    accelerator.end_training()
    return step.classifier.eval()


def main() -> None:
    """Train on digits for a few epochs, and evaluate."""
    set_seed(0)
    data = toughen.data.Digits().load("train")
    images, labels = data.subset(torch.arange(len(data)))
    batches = DataLoader(TensorDataset(images, labels, torch.arange(len(data))), batch_size=64, shuffle=True)
    first = (images[:1000], labels[:1000])
    network = train(toughen.models.SmallCNN(10, 1), LBGAT().under(eps=0.1), batches, first, epochs=5)
    device = next(network.parameters()).device
    test_images, test_labels = toughen.data.Digits().load("test").subset(torch.arange(100))
    print(toughen.evaluate(network, test_images.to(device), test_labels.to(device), eps=0.1, budget="quick"))


if __name__ == "__main__":
    main()
