"""Weights in another format than fp32, and a forward pass in half precision."""

from collections.abc import Iterator

import torch

from toughen.evaluation.preflight.context import PreflightContext
from toughen.evaluation.preflight.finding import Finding, PreflightCheck


def _find(context: PreflightContext) -> Iterator[Finding]:
    """The verdict is always fp32; what was not, is said."""
    others = [_name(dtype) for dtype in context.given.dtypes if dtype != torch.float32]
    if others:
        yield Finding(
            "dtype",
            "note",
            f"the model has weights in {' and '.join(others)}; a copy of it is evaluated in float32, and the deployed "
            "model may decide differently where two classes are close",
            {"dtypes": others},
        )
    if context.output.dtype in (torch.float16, torch.bfloat16):
        yield Finding(
            "half_precision",
            "doubt",
            f"the logits come out in {_name(context.output.dtype)}, though the weights are float32: the forward pass "
            "casts, small changes of an image are rounded away, and attacks miss them; take the cast out "
            "(precision=bf16 lets the attacks search in bf16)",
            {"dtype": _name(context.output.dtype)},
        )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


CHECK = PreflightCheck(50, _find)
