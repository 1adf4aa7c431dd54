"""What an attack is, and how an evaluation names it."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from toughen.contracts import check_attack_call
from toughen.errors import InputError
from toughen.models.fingerprint import fingerprint
from toughen.models.mode import attacked, buffers_kept
from toughen.numbers import Number
from toughen.settings.description import path_of
from toughen.threat import Norm, ThreatModel

SURVIVORS = "what the attacks before it left"
"""In an attack's settings under `attacked`: its column then means held under it and under all attacks before it."""

FURTHER = ("further_square", "further_spsa")
"""Names of the attacks that follow where a figure is doubted: none of them asks the model for a gradient."""

AUDIT = "audit"
"""Name of the attack that shows, on a sample, what those of a cheap budget have left to AutoAttack."""

RESERVED = frozenset(("clean", AUDIT, *FURTHER))
"""Columns that an evaluation adds itself, whatever is attacked."""


@dataclass(frozen=True)
class AttackResult:
    """What an attack made of a batch.

    Attributes:
        adversarial: perturbed images, like the clean ones.
        held: the attack's own verdict, bool (N,), where it gives one.
        broken_by: for an attack of several components, which of them broke each image; `clean` where it was
            misclassified before any of them, None where it held.
        warnings: doubts that arose on the way.
        repeated: images that were attacked again as published, because the search on a copy had broken them in vain.
    """

    adversarial: Tensor
    held: Tensor | None = None
    broken_by: list[str | None] | None = None
    warnings: tuple[str, ...] = ()
    repeated: int = 0


class Attack(ABC):
    """An attack that knows the labels: a model, images, labels and a threat model in, perturbed images out.

    Attributes:
        composite: whether it says which of its components broke an image.
    """

    composite: ClassVar[bool] = False

    @abstractmethod
    def run(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        threat: ThreatModel,
        generator: torch.Generator,
    ) -> AttackResult:
        """Attack one batch; all randomness comes from `generator`, which is on the images' device."""

    def settings(self, threat: ThreatModel) -> dict[str, Any]:
        """Everything that is needed to run it again, as plain data; a change here makes an evaluation another one."""
        return {"attack": path_of(type(self)), "sha256": fingerprint(self)}

    def __call__(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        threat: ThreatModel | None = None,
        generator: torch.Generator | None = None,
        *,
        eps: Number | None = None,
        norm: Norm | None = None,
    ) -> Tensor:
        """Adversarial images.

        Args:
            model: images in [0, 1] to logits; it is attacked in eval mode and left as it was.
            images: N x C x H x W in [0, 1].
            labels: int64, (N,).
            threat: what the attacker may do; or `eps` and `norm`.
            generator: of all random numbers, on the images' device; default one that torch's global generator seeds.
            eps: radius, such as 8/255 as text; default the norm's customary one.
            norm: linf (default), l2 or l1.

        Returns:
            Tensor: like `images`, in the threat model.

        Raises:
            InputError: the model, the images, their labels, the threat or the generator do not fit.
        """
        threat = check_attack_call(model, images, labels, threat, generator, eps=eps, norm=norm)
        if generator is None:
            generator = torch.Generator(images.device).manual_seed(int(torch.randint(2**62, ())))
        return self.run(model, images, labels, threat, generator).adversarial


@dataclass(frozen=True)
class PlannedAttack:
    """An attack in an evaluation.

    Attributes:
        name: column of the verdict table and key of the result.
        attack: what is run.
        survivors_only: whether it sees only the images that the attacks before it left; see `SURVIVORS`.
    """

    name: str
    attack: Attack
    survivors_only: bool = False

    def settings(self, threat: ThreatModel) -> dict[str, Any]:
        """The attack's settings, and which images it is given."""
        return {**self.attack.settings(threat), **({"attacked": SURVIVORS} if self.survivors_only else {})}


@dataclass(frozen=True)
class CalledAttack(Attack):
    """An attack of the user's own: anything that is called with a model, images and labels and gives images.

    It may also take a threat model and a generator, as `(model, images, labels, threat, generator)`.
    """

    function: Callable[..., Tensor]

    def settings(self, threat: ThreatModel) -> dict[str, Any]:
        """Its import path, and a hash over its code and all that it refers to."""
        named = self.function if hasattr(self.function, "__qualname__") else type(self.function)
        return {"attack": path_of(named), "sha256": fingerprint(self.function)}

    def run(
        self, model: nn.Module, images: Tensor, labels: Tensor, threat: ThreatModel, generator: torch.Generator
    ) -> AttackResult:
        """Attack one batch; the images are checked as every attack's are, by who evaluates them."""
        given: tuple[Any, ...] = (model, images, labels)
        if self._takes_threat():
            given += (threat, generator)
        # What it does to the model, such as model.train(), is undone before anything is judged.
        with torch.enable_grad(), attacked(model), buffers_kept(model):
            found = self.function(*given)
        if not isinstance(found, Tensor) or found.shape != images.shape:
            shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise InputError(
                f"attacks: expected images of shape {tuple(images.shape)} from {self.function}, got {shape}"
            )
        return AttackResult(found.detach().to(images))

    def _takes_threat(self) -> bool:
        """Whether its fourth argument is needed or called `threat`; another with a default is a setting of its own."""
        try:
            parameters = list(inspect.signature(self.function).parameters.values())
        except (TypeError, ValueError):  # of a function in C
            return False
        ordered = [each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
        return len(ordered) >= 5 and (ordered[3].name == "threat" or ordered[3].default is inspect.Parameter.empty)


OwnAttacks = Mapping[str, Callable[..., Tensor]] | Sequence[Callable[..., Tensor]]
"""Attacks beside a budget's: by the name of their column, or in a list, each then named after its function or class."""


def own_attacks(attacks: OwnAttacks) -> tuple[PlannedAttack, ...]:
    """Attacks of the user's own, as an evaluation runs them.

    Raises:
        InputError: something that cannot be called, or two of one name.

    >>> from toughen.attacks import PGD
    >>> [each.name for each in own_attacks([PGD(steps=50), lambda model, images, labels: images])]
    ['pgd', 'attack_2']
    """
    if not isinstance(attacks, Mapping | Sequence):
        raise InputError(
            f"attacks: expected a list of attacks, or a dict by name, got {type(attacks).__name__}; "
            "write attacks=[PGD(steps=50)]"
        )
    named = attacks.items() if isinstance(attacks, Mapping) else ((_name(a, n), a) for n, a in enumerate(attacks, 1))
    planned: list[PlannedAttack] = []
    for name, attack in named:
        if not callable(attack) or isinstance(attack, type | nn.Module):
            raise InputError(
                f"attacks: expected what can be called as (model, images, labels), got {attack!r}; "
                "write for example attacks=[PGD(steps=50)], or attacks={'mine': my_function}"
            )
        if name in RESERVED:
            raise InputError(
                f"attacks: {name!r} is a name of an evaluation's own (as are {', '.join(sorted(RESERVED - {name}))}); "
                "name it otherwise, by attacks={'name': ...}"
            )
        if not str(name).isidentifier() or name in [each.name for each in planned]:
            raise InputError(
                f"attacks: {name!r} is no name of a column, or is there twice; write attacks={{'name': ...}}"
            )
        planned.append(PlannedAttack(name, attack if isinstance(attack, Attack) else CalledAttack(attack)))
    return tuple(planned)


def _name(attack: Any, number: int) -> str:
    name = getattr(attack, "__name__", type(attack).__name__)
    return name.lower() if name.isidentifier() else f"attack_{number}"
