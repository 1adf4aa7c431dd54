"""Methods that ask a network for labels which was trained without an adversary, and stays as it is."""

from abc import ABC
from typing import Self

from torch import nn

from toughen.errors import InputError
from toughen.methods.guide import trained_network
from toughen.methods.method import Method


class Helped(Method, ABC):
    """A method with a fixed helper, trained before with the same data and network, in eval mode all along.

    Args:
        standard: the helper: the folder of a run, or a .safetensors file for the same network.
    """

    def __init__(self, standard: str | None) -> None:
        super().__init__()
        self.standard = standard
        self.helper: nn.Module | None = None

    def prepare(self, model: nn.Module) -> nn.Module:
        """Load the standard-trained network; the trained one stays as it is.

        Raises:
            InputError: there is none, or it knows other classes.
            RunError: it cannot be read, or is of another architecture.
        """
        if self.standard is None:
            raise InputError(
                f"method.standard: {type(self).__name__} needs a network that was trained without an adversary, got "
                "none; make one with the same --data and --model: toughen train --method Standard --out "
                "runs/standard, then add --method.standard runs/standard"
            )
        self.helper = trained_network(self.standard, model).requires_grad_(False).eval()
        return model

    def train(self, mode: bool = True) -> Self:
        """Set train or eval mode of this method; the standard-trained network stays in eval mode."""
        super().train(mode)
        if self.helper is not None:
            self.helper.eval()
        return self

    def guides(self) -> dict[str, nn.Module]:
        """The standard-trained network."""
        return {} if self.helper is None else {"helper": self.helper}

    def loaded_helper(self) -> nn.Module:
        """The standard-trained network.

        Raises:
            InputError: the method has not loaded it yet.
        """
        if self.helper is None:
            name = type(self).__name__
            raise InputError(f"{name} has no helper yet; load it with model = method.prepare(model)")
        return self.helper
