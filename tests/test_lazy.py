"""Names that are loaded when they are used, and what importing them does not load."""

import subprocess
import sys
from importlib import import_module

import pytest

PACKAGES = ["toughen", *(f"toughen.{room}" for room in ("attacks", "data", "evaluation", "models", "training"))]
HEAVY = {"torchvision", "sklearn", "matplotlib", "accelerate", "scipy.stats", "tensorboard", "torch._dynamo", "triton"}


@pytest.mark.parametrize(
    ("package", "lacks"),
    [
        ("toughen", HEAVY | {"torch", "numpy"}),
        ("toughen.attacks", HEAVY | {"pyarrow", "pandas"}),
        ("toughen.evaluation", HEAVY),
        ("toughen.models", HEAVY | {"pyarrow"}),
        ("toughen.data", HEAVY),
    ],
)
def test_heavy_libraries_are_not_imported_before_they_are_used(package: str, lacks: set[str]) -> None:
    """By every public name of a package; by `import toughen`."""
    names = "" if package == "toughen" else f"from {package} import *"
    found = subprocess.run(
        [sys.executable, "-c", f"import sys, {package}\n{names}\nprint(*sys.modules)"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert not lacks & set(found.stdout.split())


@pytest.mark.parametrize("package", PACKAGES)
def test_every_listed_name_is_there_and_no_other(package: str) -> None:
    module = import_module(package)
    assert dir(module) == sorted(module.__all__)
    for name in module.__all__:
        assert getattr(module, name) is not None
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'Nonesuch'"):
        module.Nonesuch  # noqa: B018
