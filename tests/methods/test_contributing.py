"""CONTRIBUTING.md's example of a method is a method."""

import re
import sys
import textwrap
from pathlib import Path
from types import ModuleType

import pytest
import torch

from toughen.batch import Batch
from toughen.models import SmallCNN
from toughen.threat import ThreatModel

PAGE = Path(__file__).parents[2] / "CONTRIBUTING.md"


def test_the_example_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    code, row = (textwrap.dedent(block) for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL))
    module = ModuleType("toughen.methods.clp")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(code, str(PAGE), "exec"), module.__dict__)
    method = module.CLP(lam=1.0).under(ThreatModel("linf", 0.1), torch.Generator().manual_seed(0))
    batch = Batch(torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 2, 3]), torch.arange(4))
    model = SmallCNN(10, 1, width=4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    before = method(model, batch)
    for _ in range(5):
        optimizer.zero_grad()
        method(model, batch).backward()
        optimizer.step()
    assert method(model, batch) < before
    terms = re.search(r'"CLP": \[Case\(CLP, \((.*?)\)\)\]', row)
    assert terms
    assert tuple(eval(f"({terms[1]})")) == tuple(method.terms(model, batch, method.perturb(model, batch)))
    for heading in ("Source: ", "When to use it: ", "Deviations: ", "Cost: "):
        assert heading in module.CLP.__doc__
