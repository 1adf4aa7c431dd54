"""Attacks: a model, an objective and a threat model in, perturbed images out."""

from toughen.attacks.gradient import GradientAttack
from toughen.attacks.pgd import FGSM, PGD
from toughen.models.mode import attacked

__all__ = ["FGSM", "PGD", "GradientAttack", "attacked"]
