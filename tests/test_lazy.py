"""Names that are loaded when they are used, and what importing them does not load."""

import subprocess
import sys
from importlib import import_module

import pytest

PACKAGES = ["toughen", *(f"toughen.{room}" for room in ("attacks", "data", "evaluation", "models", "training"))]
HEAVY = {"torchvision", "sklearn", "matplotlib", "accelerate", "scipy.stats", "tensorboard", "torch._dynamo", "triton"}


def loaded(lines: str) -> list[set[str]]:
    """The modules that a process has loaded, in each line that it prints."""
    found = subprocess.run([sys.executable, "-c", lines], check=True, capture_output=True, text=True)
    return [set(line.split()) for line in found.stdout.splitlines()]


def test_import_toughen_loads_no_heavy_library() -> None:
    (modules,) = loaded("import sys, toughen; print(*sys.modules)")
    assert "toughen" in modules
    assert not modules & (HEAVY | {"torch", "numpy"})


def test_heavy_libraries_are_not_imported_before_they_are_used() -> None:
    """By every public name of these packages, one after another."""
    packages = ("attacks", "models", "data", "evaluation")
    lines = [f"from toughen.{package} import *\nprint(*sys.modules)" for package in packages]
    attacks, models, *others = loaded("\n".join(["import sys", *lines]))
    assert {"toughen.attacks.pgd", "torch"} <= attacks
    assert not attacks & (HEAVY | {"pyarrow", "pandas"})
    assert not models & (HEAVY | {"pyarrow"})
    assert [modules & HEAVY for modules in others] == [set(), set()]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_listed_name_is_there_and_no_other(package: str) -> None:
    module = import_module(package)
    assert dir(module) == sorted(module.__all__)
    for name in module.__all__:
        assert getattr(module, name) is not None
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'Nonesuch'"):
        module.Nonesuch  # noqa: B018
