"""Attacks: a model, an objective and a threat model in, perturbed images out."""

from toughen.attacks.ascent import Ascent, attacked
from toughen.attacks.pgd import FGSM, PGD

__all__ = ["FGSM", "PGD", "Ascent", "attacked"]
