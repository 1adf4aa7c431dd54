"""All attacks: a model, images, labels and a threat model in, perturbed images out."""

from typing import TYPE_CHECKING

from toughen.lazy import lazy_names

if TYPE_CHECKING:
    from toughen.attacks.adaptive import AdaptivePGD
    from toughen.attacks.apgd import APGD
    from toughen.attacks.autoattack import AutoAttack
    from toughen.attacks.base import Attack, AttackResult
    from toughen.attacks.eot import EOT
    from toughen.attacks.fab import FAB
    from toughen.attacks.gradient import GradientAttack
    from toughen.attacks.hop_skip_jump import HopSkipJump
    from toughen.attacks.malt import MALT
    from toughen.attacks.pgd import FGSM, PGD
    from toughen.attacks.spsa import SPSA
    from toughen.attacks.square import Square
    from toughen.attacks.transfer import Transfer
    from toughen.models.mode import attacked

__all__ = [
    "APGD",
    "EOT",
    "FAB",
    "FGSM",
    "MALT",
    "PGD",
    "SPSA",
    "AdaptivePGD",
    "Attack",
    "AttackResult",
    "AutoAttack",
    "GradientAttack",
    "HopSkipJump",
    "Square",
    "Transfer",
    "attacked",
]

__getattr__, __dir__ = lazy_names(__name__, __file__)
