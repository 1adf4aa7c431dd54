"""Networks by the names that they have on the command line."""

from collections.abc import Callable
from typing import Any

from torch import nn

from toughen.settings.build import build
from toughen.settings.given import Given
from toughen.settings.signature import REQUIRED, Setting


def network_named(name: str, **settings: Any) -> Callable[..., nn.Module]:
    """The network that a name means on the command line, for `train(model=...)` and the like.

    Args:
        name: such as resnet18, timm:resnet18.a1_in1k, torchvision:resnet18, hf:ORG/NAME or net.py:Net.
        settings: its settings, such as width=32.

    Raises:
        InputError: an unknown name or setting.

    >>> network_named("timm:resnet18").keywords["name"]
    'resnet18'
    """
    return from_description({"class_path": name, "init_args": settings} if settings else name)


def from_description(described: Any) -> Callable[..., nn.Module]:
    """The network that a configuration describes, by the word of who calls this.

    Raises:
        InputError: an unknown name or setting.
    """
    made: Callable[..., nn.Module] = build(
        Setting("model", Callable[..., nn.Module], REQUIRED), [Given(("model",), "model", described)], ("model",)
    )
    return made
