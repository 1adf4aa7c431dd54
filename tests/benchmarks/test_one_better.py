"""The composition is the published terms, its design is balanced, and its page has the figures that were measured."""

from itertools import combinations

import numpy as np
import pytest
import torch
from torch import nn

from composed import Composed
from one_better import PARTS, design, effects
from one_better_tables import PAGE, tables
from pages import with_tables
from toughen.batch import Batch
from toughen.losses import cross_entropy
from toughen.methods import ARAT, LBGAT, TRADES, ARoW, Method
from toughen.methods.method import Perturbed, Terms, total
from toughen.models import SmallCNN

BATCH = Batch(torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 10)
PERTURBED = Perturbed((BATCH.images + 0.1).clamp(max=1))


def terms_of(method: Method) -> Terms:
    """The terms on one batch of a network that is always the same, as are the helpers that methods build."""
    torch.manual_seed(0)
    model: nn.Module = SmallCNN(in_channels=1, width=4)
    method.allocate_memory(8, (1, 8, 8))
    torch.manual_seed(1)
    model = method.prepare(model).train()
    return method.terms(model, BATCH, PERTURBED)


def loss(terms: Terms) -> float:
    return total(terms).item()


def test_each_part_is_the_published_term() -> None:
    assert loss(terms_of(Composed())) == pytest.approx(loss(terms_of(TRADES(beta=6))))
    weighted, arow = terms_of(Composed(weight="arow"))["kl"], terms_of(ARoW(lam=3))["regularizer"]
    assert torch.allclose(weighted.values * weighted.weight, arow.values * arow.weight)
    guided = terms_of(Composed(guide=1.0))
    clean = loss({"clean_ce": guided.pop("clean_ce")})
    assert clean > 0 and loss(guided) == pytest.approx(loss(terms_of(LBGAT(beta=6))))
    split, arat = Composed(alpha=0, features=30), ARAT(balance=0.5, gamma=30)
    assert loss(terms_of(split)) == pytest.approx(loss(terms_of(arat)))


def test_the_other_way_is_plain_kl() -> None:
    torch.manual_seed(0)
    model = SmallCNN(in_channels=1, width=4).train()
    p, q = (model(images).softmax(1) for images in (BATCH.images, PERTURBED.images))
    terms = terms_of(Composed(beta=2))
    assert torch.allclose(terms["kl_back"].values, (q * (q / p).log()).sum(1), atol=1e-5)
    assert torch.allclose(terms["clean_ce"].values, cross_entropy(p.log(), BATCH.labels), atol=1e-5)


def test_the_design_tells_every_part_from_every_other() -> None:
    signs = np.array([[1 if part in row else -1 for part in PARTS] for row in design()])
    assert (signs.T @ signs == 8 * np.eye(7)).all()
    truth = dict(zip(PARTS, range(7), strict=True))
    found = effects({tuple(row): sum(truth[part] for part in row) for row in design()})
    assert found == pytest.approx(truth) and list(found) == list(PARTS)[::-1]
    assert all(sum({one, other} <= set(row) for row in design()) == 2 for one, other in combinations(PARTS, 2))


def test_the_page_has_the_figures_that_were_measured() -> None:
    made = tables()
    assert {name.partition(" ")[0] for name in made} == {"digits", "fashion"}
    page = PAGE.read_text()
    assert with_tables(page, made) == page
    assert all(table in page for table in made.values())
