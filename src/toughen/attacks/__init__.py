"""Attacks: a model, an objective and a threat model in, perturbed images out."""

from typing import TYPE_CHECKING

from toughen.lazy import lazy_names

if TYPE_CHECKING:
    from toughen.attacks.gradient import GradientAttack
    from toughen.attacks.pgd import FGSM, PGD
    from toughen.models.mode import attacked

__all__ = ["FGSM", "PGD", "GradientAttack", "attacked"]

__getattr__, __dir__ = lazy_names(__name__, __file__)
