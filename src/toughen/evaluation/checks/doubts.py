"""Reasons not to believe a figure: one list, shown and obeyed wherever the figure is."""

from collections.abc import Mapping
from typing import Any

NAN = "the model gives NaN for clean images: they are counted as misclassified"

BINDING = {
    "probabilities": "The model gives logits",
    "not_differentiable": "The model can be differentiated",
    "zero_gradients": "The gradient shows the way for nearly all images",
    "gradients_not_finite": "The gradient is finite",
    "false_gradients": "The gradient is the model's own",
    "rough_gradients": "The gradient holds as far as a step of an attack",
    "randomness": "The model answers the same twice, or is attacked in the mean",
}
"""Doubts of the preflight for which the attacks may have been blind, each with what would hold without it. The others
say that a figure compares with no other, or that it is bad, not that it flatters."""


def reasons(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Why the robust accuracy of a result may be too high: what bound before the attacks, then the failed self-checks.

    Args:
        result: what `result.json` holds.

    Returns:
        list: of each reason its name, title (what does not hold) and message; empty where there is none.

    >>> doubt = {"name": "false_gradients", "severity": "doubt", "message": "the gradient is not the model's own"}
    >>> [reason["name"] for reason in reasons({"preflight": [doubt]})]
    ['false_gradients']
    """
    found = [
        {"name": finding["name"], "title": BINDING[finding["name"]], "message": finding["message"], "preflight": True}
        for finding in result.get("preflight", [])
        if finding["severity"] == "doubt" and finding["name"] in BINDING
    ]
    suspected = result.get("masking_suspected", [])
    found += [check for check in result.get("checks", []) if check["name"] in suspected]
    audit = result.get("audit") or {"suspicious": False}
    if audit["suspicious"] and audit["audited"] < audit["left"]:
        said = f"AutoAttack broke {audit['broken']:,} of {audit['audited']:,} images that the fast attacks left"
        found.append({"name": "audit", "title": "AutoAttack finds little that the fast attacks left", "message": said})
    return found
