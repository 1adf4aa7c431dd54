"""What is found by reading the sources, against what importing the packages gives."""

import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
import yaml
from torch import nn

from toughen import attacks, data, evaluation, methods, models, training
from toughen.batch import Batch
from toughen.catalog import KINDS, RECIPES, classes, find, find_recipe, kind_of, recipes, studies
from toughen.errors import InputError
from toughen.evaluation import analyses
from toughen.settings.description import path_of
from toughen.settings.names import import_path

BASES: dict[str, tuple[ModuleType, type]] = {
    "methods": (methods, methods.Method),
    "models": (models, nn.Module),
    "data": (data, data.DataSource),
    "attacks": (attacks, attacks.GradientAttack),
    "optimizers": (torch.optim, torch.optim.Optimizer),
    "schedules": (training, training.Schedule),
    "averages": (training, training.Average),
    "analyses": (analyses, evaluation.Analysis),
}
kinds = pytest.mark.parametrize("kind", [kind for kind in BASES if kind != "optimizers"])


def imported(kind: str) -> dict[str, type]:
    """The concrete public classes of a package, found by importing all its modules."""
    package, base = BASES[kind]
    found = {}
    for info in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        module = importlib.import_module(info.name)
        for name, thing in inspect.getmembers(module, inspect.isclass):
            own = thing.__module__ == module.__name__ and not name.startswith("_")
            if own and issubclass(thing, base) and not inspect.isabstract(thing):
                found[name] = thing
    if kind == "models":  # parts of networks and wrappers are not networks to choose
        found = {name: thing for name, thing in found.items() if "num_classes" in inspect.signature(thing).parameters}
    return found


@kinds
def test_every_class_is_found(kind: str) -> None:
    assert classes(kind).keys() == imported(kind).keys()


def test_the_kind_of_a_setting_is_known_from_its_type() -> None:
    assert BASES.keys() == KINDS.keys()
    for kind, (_, base) in BASES.items():
        assert kind_of(base) == kind
        assert {kind_of(import_path(entry.path)) for entry in classes(kind).values()} == {kind}
    assert kind_of(dict) is None
    assert kind_of(Batch) is None


def test_optimisers_are_those_of_torch_with_our_sgd() -> None:
    there = dict(inspect.getmembers(torch.optim, inspect.isclass))
    theirs = {name: cls for name, cls in there.items() if issubclass(cls, torch.optim.Optimizer)}
    theirs.pop("Optimizer")
    found = {name: import_path(entry.path) for name, entry in classes("optimizers").items()}
    assert found == {**theirs, "SGD": training.SGD}


@kinds
def test_path_leads_to_the_class(kind: str) -> None:
    for name, entry in classes(kind).items():
        module, _, last = entry.path.rpartition(".")
        assert entry.name == last == name
        assert getattr(importlib.import_module(module), last) is imported(kind)[name]


@kinds
def test_summary_is_the_first_line_of_the_docstring(kind: str) -> None:
    for name, entry in classes(kind).items():
        assert entry.summary == (inspect.getdoc(imported(kind)[name]) or "").splitlines()[0], name
        assert len(entry.summary) > 10, name


@kinds
def test_package_exports_what_can_be_named(kind: str) -> None:
    package, _ = BASES[kind]
    assert classes(kind).keys() <= set(dir(package))
    assert all(path_of(getattr(package, name)) == entry.path for name, entry in classes(kind).items())


@kinds
def test_name_ignores_case_and_underscores(kind: str) -> None:
    for name, entry in classes(kind).items():
        for spelling in (name, name.lower(), name.upper(), "_".join(name.lower()), name[:2] + "-" + name[2:]):
            assert find(kind, spelling, "--flag") == entry.path


@kinds
def test_names_do_not_collide(kind: str) -> None:
    assert len({name.lower().replace("_", "") for name in classes(kind)}) == len(classes(kind))


@pytest.mark.parametrize(
    ("kind", "name", "path"),
    [
        ("models", "resnet18", "toughen.models.resnet.ResNet18"),
        ("models", "small_cnn", "toughen.models.small_cnn.SmallCNN"),
        ("models", "wideresnet", "toughen.models.wide_resnet.WideResNet"),
        ("models", "preactresnet18", "toughen.models.preact_resnet.PreActResNet18"),
        ("data", "fashion_mnist", "toughen.data.torchvision_sets.FashionMNIST"),
        ("data", "imagefolder", "toughen.data.image_folder.ImageFolder"),
        ("methods", "pgd_at", "toughen.methods.pgd_at.PGDAT"),
        ("schedules", "one_cycle", "toughen.training.optimizer.OneCycle"),
        ("analyses", "eps_curve", "toughen.evaluation.analyses.eps_curve.EpsCurve"),
    ],
)
def test_names_of_the_command_line(kind: str, name: str, path: str) -> None:
    assert find(kind, name, "--flag") == path


def test_import_path_stays_as_it_is() -> None:
    assert find("models", "mypackage.nets.Net", "--model") == "mypackage.nets.Net"


@pytest.mark.parametrize(
    ("kind", "name", "flag", "nearest"),
    [
        ("methods", "TRADE", "--method", "TRADES"),
        ("models", "resnet", "--model", "ResNet18"),
        ("models", "small_cn", "--model", "SmallCNN"),
        ("data", "cifar11", "data", "CIFAR10"),
        ("data", "fashionmnits", "--data", "FashionMNIST"),
    ],
)
def test_unknown_name_gives_the_nearest(kind: str, name: str, flag: str, nearest: str) -> None:
    with pytest.raises(InputError) as caught:
        find(kind, name, flag)
    message = str(caught.value)
    assert message.startswith(f"{flag}: unknown name {name!r}; did you mean '{nearest}'? Known: ")
    assert "; or an import path: package.module.Name" in message
    assert all(known in message for known in classes(kind))


def test_a_name_like_no_other_lists_all() -> None:
    with pytest.raises(InputError, match=r"--method: unknown name 'qqq'; Known: .*ARR, .*TRADES"):
        find("methods", "qqq", "--method")


def test_every_recipe_is_found_and_says_what_it_is() -> None:
    shipped = {f"{name}.study" for name in studies()} | recipes().keys()
    assert shipped == {file.stem for file in RECIPES.iterdir() if file.suffix == ".yaml"} and studies()
    for name, entry in recipes().items():
        assert entry.name == name
        assert entry.summary
        for spelling in (name, name.upper(), name.replace("-", "_")):
            assert find_recipe(spelling) == Path(entry.path)
        assert isinstance(yaml.safe_load(Path(entry.path).read_text()), dict)


def test_config_may_be_any_file(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("epochs: 3\n")
    assert find_recipe(str(mine)) == mine


@pytest.mark.parametrize("name", ["no-such-recipe", "runs/x/config.yaml", ""])
def test_neither_file_nor_recipe(name: str) -> None:
    with pytest.raises(InputError) as caught:
        find_recipe(name)
    assert str(caught.value) == (
        f"--config: no file and no recipe {name!r}; expected a YAML file of settings, or a recipe that "
        "`toughen list recipes` names"
    )


def test_unknown_recipe_gives_the_nearest() -> None:
    for name in recipes():
        with pytest.raises(InputError, match=f"'{name}{name[-1]}'; did you mean '{name}'"):
            find_recipe(f"{name}{name[-1]}")


def test_a_run_is_named_by_its_configuration(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("epochs: 3\n")
    with pytest.raises(InputError, match=f"; did you mean the run's {tmp_path}/config.yaml"):
        find_recipe(str(tmp_path))


def test_a_folder_is_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--config: no file and no recipe"):
        find_recipe(str(tmp_path))


def test_nothing_is_imported_to_answer() -> None:
    """`toughen list` answers at once because the sources are read, not imported."""
    script = (
        "import sys; from toughen import catalog; "
        f"print([len(catalog.classes(kind)) for kind in {list(BASES)}], 'torch' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == f"{[len(classes(kind)) for kind in BASES]} False"
