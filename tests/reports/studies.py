"""What an evaluation records beside its figures, in the shape of result.json."""

from typing import Any

import numpy as np
from run_files import figure


def of_share(share: float, n: int = 200) -> dict[str, Any]:
    return figure(np.arange(n) < round(share * n))


def studies(num_classes: int = 10, failed: tuple[str, ...] = ("eps_never_helps",)) -> dict[str, Any]:
    """Every study, for as many classes; `failed` names the self-checks that the model fails."""
    return {
        "preflight": PREFLIGHT,
        "checks": [{**check, "passed": False} if check["name"] in failed else check for check in CHECKS],
        "masking_suspected": list(failed),
        "per_class": [
            {"label": k, "name": f"class {k}", "n": 36, "clean": of_share(0.95, 36), "robust": of_share(share, 36)}
            for k, share in enumerate(np.random.default_rng(0).uniform(0.2, 0.9, num_classes))
        ],
        "confusion": confusion(num_classes),
        "calibration": {
            "clean": {"ece": 0.031, "n": 360, "bins": bins(0.0)},
            "adversarial": {"ece": 0.214, "n": 360, "bins": bins(0.3), "attack": "pgd20"},
        },
        "analyses": {
            "eps_curve": CURVE,
            "minimum_norm": MINIMUM_NORM,
            "decision_based": {
                "settings": {"steps": 20},
                **{"attack": "HopSkipJump", "queries": 5000, "steps": 20},
                **of_share(0.72, 100),
            },
            "corruptions": {
                "settings": {"severities": [1, 3, 5]},
                "library": "imagecorruptions",
                "rows": [
                    {"corruption": name, "severity": severity, **of_share(0.95 - (1 + i) * severity / 50)}
                    for i, name in enumerate(("gaussian_noise", "motion_blur", "fog", "jpeg_compression"))
                    for severity in (1, 3, 5)
                ],
                "mean": {"accuracy": 0.8, "interval": [0.76, 0.84]},
                "enlarged": 4,
            },
            "other_norms": {
                "settings": {},
                "rows": [
                    {"norm": "l2", "eps": 0.5, "attack": "pgd50", **of_share(0.61)},
                    {"norm": "l1", "eps": 3.0, "attack": "pgd50", **of_share(0.47)},
                ],
            },
        },
    }


def confusion(num_classes: int) -> dict[str, Any]:
    counts = np.random.default_rng(1).poisson(1.2, (num_classes, num_classes)) + 25 * np.eye(num_classes, dtype=int)
    return {"attack": "pgd20", "counts": counts.tolist(), "nan_predictions": 2}


def bins(excess: float) -> list[dict[str, Any]]:
    """Ten bins of which the first two are empty; accuracy lies `excess` below confidence."""
    edges = np.linspace(0, 1, 11)
    return [
        {
            "low": low,
            "high": high,
            "confidence": (low + high) / 2,
            "accuracy": max(0.0, (low + high) / 2 - excess),
            "n": 0 if low < 0.2 else 45,
        }
        for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)
    ]


PREFLIGHT = [
    {
        "name": "dtype",
        "severity": "note",
        "message": "the weights are fp64; the model is judged in fp32",
        "figures": {"dtype": "float64"},
    },
    {
        "name": "saturated_logits",
        "severity": "doubt",
        "message": "31.0 % of the images have a gradient of exactly 0: the logits saturate; attack the margin instead",
        "figures": {"share": 0.31},
    },
]

CHECKS = [
    {
        "name": "iterative_beats_single_step",
        "title": "An iterative attack is stronger than a single step",
        "passed": True,
        "message": "PGD-20 leaves 61.0 %, FGSM 72.5 %",
        "figures": {"pgd20": 0.61, "fgsm": 0.725},
    },
    {
        "name": "transfer_never_wins",
        "title": "Images of another model do not beat the white-box attack",
        "passed": None,
        "message": "no other run was given; add --transfer runs/NAME",
        "figures": {},
    },
    {
        "name": "eps_never_helps",
        "title": "A larger radius never helps the model",
        "passed": True,
        "message": "0.05: 80.0 %, 0.1: 61.0 %, 0.2: 64.5 %",
        "figures": {"0.1": 0.61, "0.2": 0.645},
    },
]

CURVE = {
    "settings": {"steps": 20},
    "attack": "pgd20",
    "norm": "linf",
    "points": [
        {"eps": eps, **of_share(share)}
        for eps, share in ((0.0, 0.95), (0.025, 0.9), (0.05, 0.82), (0.1, 0.6), (0.15, 0.32), (0.2, 0.11))
    ],
    "area": 0.627,
    "area_interval": [0.58, 0.67],
}

MINIMUM_NORM = {
    "settings": {"steps": 100},
    "attack": "FMN",
    "norm": "linf",
    "n": 100,
    "median": 0.118,
    "quantiles": {"0.05": 0.0, "0.25": 0.081, "0.75": 0.142},
    "norms": [0.0] * 5 + [None] * 2 + np.random.default_rng(2).gamma(9, 0.013, 93).round(4).tolist(),
    "held_at_eps": of_share(0.66, 100),
}
