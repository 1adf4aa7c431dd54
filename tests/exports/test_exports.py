"""An exported file, asked by its own runtime, is the run's network: predictions and verdicts, for many networks."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from exported_networks import CLASSES, NETWORKS, TRUST
from safetensors import safe_open
from torch import Tensor

import toughen
from toughen.errors import InputError, RunError, ToughenWarning
from toughen.evaluation.gallery import read_gallery
from toughen.exports import safetensors as of_safetensors
from toughen.exports.alone import logits_of
from toughen.exports.formats import FACTS, Format
from toughen.run import RunFolder

Make = Callable[[str], RunFolder]
EXPORTED = [name for name in NETWORKS if name not in ("undecided", "restless")]
FORMS = ("onnx", "torch-export", "torchscript", "safetensors")
ALL = [(name, form) for name in [*EXPORTED, "ARAT"] for form in FORMS] + [("own file", form) for form in FORMS[:3]]
FAST = [("own class", "onnx"), ("own class", "safetensors")]


def facts_in(path: Path, form: Format) -> dict[str, str]:
    """What a file says of itself, as its own library gives it."""
    if form == "onnx":
        return {each.key: each.value for each in onnx.load(path).metadata_props}
    if form == "safetensors":
        with safe_open(path, "pt") as file:
            return file.metadata()
    beside = {FACTS: ""}
    if form == "torch-export":
        torch.export.load(path, extra_files=beside)
    else:
        torch.jit.load(path, _extra_files=beside)
    return json.loads(beside[FACTS])


def expected(folder: RunFolder) -> tuple[Tensor, Tensor]:
    """The pictures that the evaluation kept, clean and adversarial, and what it recorded for them."""
    kept = read_gallery(folder.gallery)
    return torch.cat([kept["clean"], kept["adversarial"]]), torch.cat(
        [kept["clean_predictions"], kept["adversarial_predictions"]]
    )


@pytest.mark.parametrize(
    ("name", "form"),
    [*FAST, *(pytest.param(*each, marks=pytest.mark.nightly) for each in ALL if each not in FAST)],
)
def test_a_file_is_the_network(name: str, form: Format, make_run: Make, tmp_path: Path) -> None:
    folder = make_run(name)
    exported = toughen.export(str(folder.path), format=form, out=str(tmp_path / "file"), trust=TRUST)
    images, recorded = expected(folder)
    counts = {each.name: each for each in exported.agreement.same}
    assert list(counts) == ["saved clean", "saved adversarial", "clean", "fresh PGD-20"]
    assert all(each.n == each.predictions == each.verdicts for each in counts.values())
    assert all(counts[each].recorded == counts[each].n for each in ("saved clean", "saved adversarial", "clean"))
    assert counts["saved clean"].n + counts["saved adversarial"].n == len(images)
    facts, result = facts_in(exported.path, form), folder.read_result()
    assert json.loads(facts["classes"]) == list(folder.read_classes() or ())
    assert json.loads(facts["shape"]) == list(images.shape[1:])
    assert json.loads(facts["threat"]) == result["threat"]
    assert json.loads(facts["figures"])["robust"]["interval"] == result["robust_accuracy"]["interval"]
    assert json.loads(facts["weights"]) == result["model"]["sha256"]
    if form == "onnx":  # the library alone, without ours
        session = onnxruntime.InferenceSession(str(exported.path), providers=["CPUExecutionProvider"])
        assert session.get_inputs()[0].shape == ["batch", *images.shape[1:]]
        for some in (images[:1], images):
            (logits,) = session.run(None, {"images": some.numpy()})
            assert np.array_equal(logits.argmax(1), recorded[: len(some)].numpy())


@pytest.mark.nightly
def test_the_process_that_has_pytorch_cannot_have_this_package(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot be used in PyTorch without toughen: ModuleNotFoundError.*toughen"):
        logits_of(tmp_path, torch.zeros(1, 1, 2, 2), '__import__("toughen").load(path)')


def test_safetensors_are_loaded_without_the_run(make_run: Make, tmp_path: Path) -> None:
    folder = make_run("own class")
    path = toughen.export(
        str(folder.path), format="safetensors", out=str(tmp_path / "one.safetensors"), check_images=0, trust=TRUST
    ).path
    images, recorded = expected(folder)
    classifier = toughen.load(path, trust=TRUST)
    assert classifier.predict(images) == [CLASSES[label] for label in recorded.tolist()]
    assert (classifier.classes, classifier.shape) == (CLASSES, (3, 32, 32))
    assert str(classifier.threat) == "linf 8/255"
    with pytest.raises(InputError, match="nothing was run. .*--trust exported_networks.Own"):
        toughen.load(path)
    with pytest.raises(RunError, match="it holds weights alone; expected a file of `toughen export"):
        toughen.load(folder.model)


@pytest.mark.parametrize(
    ("name", "form", "why"),
    [
        ("undecided", "torch-export", "Undecided cannot be exported as torch-export: .*; --format safetensors keeps"),
        ("restless", "safetensors", "another answer each time"),
        ("own file", "safetensors", "holds no code, and code/net.py:Own builds the network; .*--format torch-export"),
    ],
)
def test_what_cannot_be_exported_is_refused(name: str, form: Format, why: str, make_run: Make, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=why) as error:
        toughen.export(str(make_run(name).path), format=form, out=str(tmp_path / "file"), check_images=0, trust=TRUST)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_answers_otherwise_is_not_kept(
    make_run: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_run("own class")
    given = {"format": "safetensors", "out": str(tmp_path / "file"), "trust": TRUST}
    honest = of_safetensors.logits
    monkeypatch.setattr(of_safetensors, "logits", lambda path, images: honest(path, images).flip(1))
    with pytest.raises(RunError, match=r"another network: .* 0 of 12 clean .*nothing was kept"):
        toughen.export(str(folder.path), **given)
    assert list(tmp_path.iterdir()) == []


def test_a_tie_that_rounding_decides_is_warned_of(
    make_run: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two logits a hair apart, which the other runtime sees the other way round."""
    from toughen.exports.agreement import Shown, compare_file
    from toughen.exports.formats import Form

    def network(images: Tensor) -> Tensor:
        return torch.tensor([[1.0, 1.0 - 1e-6]]).repeat(len(images), 1)

    form = Form("onnx", of_safetensors.write, lambda path, images: network(images).flip(1), lambda: "somewhere")
    shown = [Shown("clean", torch.zeros(3, 1, 2, 2), torch.tensor([0, 1, 1]))]
    found = compare_file(tmp_path / "file", form, network, shown)  # type: ignore[arg-type]
    assert found.rounded and not found.agrees
    assert str(found).startswith("somewhere: the same predictions for 0 of 3 clean (0 verdicts) images; ")


def test_nothing_is_replaced_unasked(make_run: Make, tmp_path: Path) -> None:
    folder, path = make_run("own class"), tmp_path / "mine"
    path.write_text("mine")
    given = {"format": "safetensors", "out": str(path), "check_images": 0, "trust": TRUST}
    with pytest.raises(InputError, match="exists; replace it .--overwrite."):
        toughen.export(str(folder.path), **given)
    assert path.read_text() == "mine"
    toughen.export(str(folder.path), overwrite=True, **given)
    assert toughen.load(path, trust=TRUST).classes == CLASSES


def test_without_its_data_a_file_is_shown_what_the_evaluation_kept(make_run: Make, tmp_path: Path) -> None:
    import shutil

    folder = RunFolder(tmp_path / "moved")
    shutil.copytree(make_run("own class").path, folder.path)
    config = folder.read_config()
    config["data"]["init_args"]["path"] = str(tmp_path / "nowhere")
    folder.write_config(config)
    with pytest.warns(ToughenWarning, match="not shown the run's test images, .*no folder at"):
        exported = toughen.export(str(folder.path), format="safetensors", trust=TRUST)
    assert [each.name for each in exported.agreement.same] == ["saved clean", "saved adversarial"]
    assert exported.path == folder.path / "classifier.safetensors"
