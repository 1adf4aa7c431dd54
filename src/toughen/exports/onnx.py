"""ONNX, run by onnxruntime."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from toughen.exports.torch_export import program
from toughen.extras import library

BATCH = "batch"
_AT_ONCE = 64


def write(network: nn.Module, example: Tensor, facts: Mapping[str, str], path: Path) -> None:
    """A model with the input `images`, the output `logits`, and the facts among its metadata."""
    onnx = library("onnx", "onnx")
    library("onnxscript", "onnx")
    exported = torch.onnx.export(
        program(network, example), (), input_names=["images"], output_names=["logits"], dynamo=True, verbose=False
    )
    assert exported is not None
    model = exported.model_proto
    _name_batch(model.graph)
    for name, text in facts.items():
        model.metadata_props.add(key=name, value=text)
    model.doc_string = "images: float32 in [0, 1], batch x channels x height x width"
    onnx.save(model, path)


def logits(path: Path, images: Tensor) -> Tensor:
    """What onnxruntime gives on the CPU; the first image goes alone, which shows that the batch is free."""
    session = library("onnxruntime", "onnx").InferenceSession(str(path), providers=["CPUExecutionProvider"])
    parts = [images[:1], *images[1:].split(_AT_ONCE)]
    found = [session.run(["logits"], {"images": part.numpy()})[0] for part in parts if len(part)]
    return torch.cat([torch.from_numpy(each) for each in found])


def runtime() -> str:
    """The library and its version."""
    return f"onnxruntime {library('onnxruntime', 'onnx').__version__}"


def _name_batch(graph) -> None:  # type: ignore[no-untyped-def]  # onnx.GraphProto, of an extra
    """Call the free dimension what it is; torch gives it a number."""
    given = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dimension in value.type.tensor_type.shape.dim:
            if given and dimension.dim_param:
                dimension.dim_param = dimension.dim_param.replace(given, BATCH)
