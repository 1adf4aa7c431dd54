"""A plain PyTorch loop, with a memory of every image and an average of the weights: python examples/plain_pytorch.py"""

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import toughen
from toughen.methods import FGSMPGI, Method, ModelWithLoss
from toughen.training import EMA


def train(
    model: nn.Module, method: Method, batches: DataLoader, first: tuple[Tensor, Tensor], epochs: int
) -> nn.Module:
    """Train by a method, which looks at the first images before an epoch; gives the averaged network to evaluate."""
    step = ModelWithLoss(model, method).train()
    # What the method learns itself is among the parameters; a group of its own is {"params": method.parameters()}.
    optimizer = torch.optim.SGD(step.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    rule = EMA(decay=0.9)
    average = rule.build(step.model)
    for epoch in range(epochs):
        step.begin_epoch(epoch, *first)
        for images, labels, indices in batches:
            loss = step(images, labels, indices)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rule.update(average, step.model, method)
    return method.inference_model(average.module).eval()


def main() -> None:
    """Train on digits for a few epochs, and evaluate."""
    torch.manual_seed(0)
    data = toughen.data.Digits().load("train")
    images, labels = data.subset(torch.arange(len(data)))
    batches = DataLoader(TensorDataset(images, labels, torch.arange(len(data))), batch_size=128, shuffle=True)
    method = FGSMPGI().under(eps=0.1)
    method.allocate_memory(len(data), data.shape)  # before the step is made; most methods remember nothing
    network = train(toughen.models.SmallCNN(10, 1), method, batches, (images[:1000], labels[:1000]), epochs=5)
    test_images, test_labels = toughen.data.Digits().load("test").subset(torch.arange(100))
    print(toughen.evaluate(network, test_images, test_labels, eps=0.1, budget="quick"))


if __name__ == "__main__":
    main()
