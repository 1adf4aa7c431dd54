"""One published method a file."""

from toughen.methods.alp import ALP
from toughen.methods.ar_at import ARAT
from toughen.methods.arow import ARoW
from toughen.methods.arr import ARR
from toughen.methods.d2r import D2R
from toughen.methods.fgsm_pgi import FGSMPGI
from toughen.methods.fgsm_pgk import FGSMPGK
from toughen.methods.fgsm_rs import FGSMRS
from toughen.methods.guide import Guide
from toughen.methods.hat import HAT
from toughen.methods.lbgat import LBGAT
from toughen.methods.mart import MART
from toughen.methods.method import Method, Perturbed, Term, Terms, total
from toughen.methods.n_fgsm import NFGSM
from toughen.methods.pgd_at import PGDAT
from toughen.methods.regmix import RegMix
from toughen.methods.standard import Standard
from toughen.methods.trades import TRADES
from toughen.methods.vat import VAT

__all__ = [
    "ALP",
    "ARAT",
    "ARR",
    "D2R",
    "FGSMPGI",
    "FGSMPGK",
    "FGSMRS",
    "HAT",
    "LBGAT",
    "MART",
    "NFGSM",
    "PGDAT",
    "TRADES",
    "VAT",
    "ARoW",
    "Guide",
    "Method",
    "Perturbed",
    "RegMix",
    "Standard",
    "Term",
    "Terms",
    "total",
]
