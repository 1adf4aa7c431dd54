"""One published method a file."""

from toughen.methods.arr import ARR
from toughen.methods.method import Method, Perturbed, Term, Terms, total
from toughen.methods.pgd_at import PGDAT
from toughen.methods.standard import Standard
from toughen.methods.trades import TRADES

__all__ = ["ARR", "PGDAT", "TRADES", "Method", "Perturbed", "Standard", "Term", "Terms", "total"]
