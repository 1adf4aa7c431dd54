"""What all tests share."""

import json
from pathlib import Path

import pytest
import torch

from toughen.threat import ThreatModel

torch.set_num_threads(1)

REFERENCE = json.loads((Path(__file__).parent / "reference" / "losses.json").read_text())


@pytest.fixture(
    params=range(len(REFERENCE["cases"])), ids=lambda i: f"{len(REFERENCE['cases'][i]['clean'][0])}-classes"
)
def reference(request: pytest.FixtureRequest) -> dict:
    """One case of the authors' values: logits as float64 tensors, labels, and what is expected."""
    case = REFERENCE["cases"][request.param]
    tensors = {name: torch.tensor(case[name], dtype=torch.float64) for name in ("clean", "adv", "init", "guide")}
    predictor = {name: torch.tensor(value, dtype=torch.float64) for name, value in case["predictor"].items()}
    return {
        **tensors,
        "labels": torch.tensor(case["labels"]),
        "predictor": predictor,
        "expected": case["expected"],
    }


@pytest.fixture
def threat() -> ThreatModel:
    return ThreatModel("linf", 8 / 255)
