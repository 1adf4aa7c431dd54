"""Rewriting a traced network so that its passes cost less, with the same result."""

import torch
from torch import fx, nn
from torch.nn import functional as F

from toughen.models.build import Normalize


def cast_around(traced: fx.GraphModule, dtype: torch.dtype) -> None:
    """Cast behind the input normalisation (or at the input, where there is none), and back to fp32 at the output."""
    graph, modules = traced.graph, dict(traced.named_modules())
    entry = next(node for node in graph.nodes if node.op == "placeholder")
    for node in graph.nodes:
        if node.op == "call_module" and isinstance(modules[str(node.target)], Normalize):
            entry = node
            break
    with graph.inserting_after(entry):
        inside = graph.call_method("to", (entry, dtype))
    entry.replace_all_uses_with(inside, delete_user_cb=lambda user: user is not inside)
    output = next(node for node in graph.nodes if node.op == "output")
    with graph.inserting_before(output):
        outside = graph.call_method("float", (output.args[0],))
    output.args = (outside,)


def relu_in_place(traced: fx.GraphModule) -> None:
    """Let a ReLU overwrite its input where nothing else needs that: behind a convolution, a BatchNorm or a sum."""
    modules = dict(traced.named_modules())
    for node in list(traced.graph.nodes):
        called = modules[str(node.target)] if node.op == "call_module" else node.target
        if called not in (F.relu, torch.relu) and not isinstance(called, nn.ReLU):
            continue
        before = node.args[0]
        if isinstance(before, fx.Node) and len(before.users) == 1 and _output_is_free(before, modules):
            with traced.graph.inserting_before(node):
                rewritten = traced.graph.call_function(F.relu, (before,), {"inplace": True})
            node.replace_all_uses_with(rewritten)
            traced.graph.erase_node(node)


def _output_is_free(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    """Whether autograd needs no output of this node."""
    if node.op == "call_module":
        return isinstance(modules[str(node.target)], nn.Conv2d | nn.BatchNorm2d)
    return node.op == "call_function" and getattr(node.target, "__name__", "") in ("add", "iadd")
