"""A run goes to the hub and comes back: against a server on this machine that answers as the hub's API does."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import huggingface_hub
import huggingface_hub.constants
import pytest
import torch
from exported_networks import CLASSES, TRUST
from standin_hub import TOKEN, StandIn, oid

import toughen
from toughen.cli.push import run as push_command
from toughen.errors import InputError, RunError, ToughenWarning
from toughen.run import RunFolder

Make = Callable[[str], RunFolder]
UPLOADED = {"README.md", "config.yaml", "classes.json", "input.json", "model.safetensors", "result.json"}
UPLOADED |= {"verdicts.parquet", "manifest.json"}


@pytest.fixture
def server() -> Iterator[StandIn]:
    with StandIn() as standin:
        threading.Thread(target=standin.serve_forever, args=(0.05,), daemon=True).start()
        yield standin
        standin.shutdown()


@pytest.fixture
def hub(server: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """The library asks the stand-in, with a cache of its own."""
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    file = server.url + constants.HUGGINGFACE_CO_URL_TEMPLATE.removeprefix("https://huggingface.co")
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", file)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.chdir(tmp_path)
    return server


PATHS = pytest.mark.filterwarnings("ignore:config.yaml, which is uploaded:toughen.errors.ToughenWarning")


@PATHS
def test_a_run_comes_back_from_the_hub(make_run: Make, hub: StandIn) -> None:
    folder = make_run("own class")
    pushed = toughen.push(str(folder.path), "me/mine", license="mit")
    files = hub.repos["me/mine"]["main"]
    assert pushed.url == f"{hub.url}/me/mine/commit/{oid(files)}"
    assert set(pushed.files) == UPLOADED
    assert {name: len(content) for name, content in files.items() if name != ".gitattributes"} == pushed.files
    there = toughen.load("hf:me/mine", trust=TRUST)
    here = toughen.load(folder.path, trust=TRUST)
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(there(images), here(images))
    assert (there.classes, there.shape, there.threat, there.figures) == (CLASSES, here.shape, here.threat, here.figures)
    card = huggingface_hub.ModelCard(files["README.md"].decode())
    assert card.data.license == "mit"
    clean, robust = card.data.eval_results
    result = folder.read_result()
    assert clean.metric_value == round(result["figures"]["clean"]["accuracy"], 4)
    assert robust.metric_value == round(result["robust_accuracy"]["accuracy"], 4)
    assert robust.metric_args["n"] == result["robust_accuracy"]["n"] == 12


@PATHS
def test_nothing_of_a_repository_is_run_or_read_but_what_a_run_is_read_from(make_run: Make, hub: StandIn) -> None:
    toughen.push(str(make_run("own class").path), "me/mine")
    hub.repos["me/mine"]["main"] |= {
        "own.py": b"raise SystemExit",
        "pytorch_model.bin": b"pickle",
        "gallery.safetensors": b"",
    }
    with pytest.raises(InputError, match="nothing was run. .*--trust exported_networks.Own"):
        toughen.load("hf:me/mine")
    toughen.load("hf:me/mine", trust=TRUST)
    read = {path.rpartition("/")[2] for path in hub.asked if "/resolve/" in path}
    assert read == UPLOADED - {"README.md"}


@PATHS
def test_a_file_of_ones_own_goes_along_and_waits_for_trust(make_run: Make, hub: StandIn) -> None:
    toughen.push(str(make_run("own file").path), "me/mine")
    files = hub.repos["me/mine"]["main"]
    files["code/net.py"] += b"\nfrom pathlib import Path\nPath('canary').touch()\n"
    with pytest.raises(RunError, match="code/net.py: it is damaged"):
        toughen.load("hf:me/mine", trust=["code/net.py"])
    del files["code/manifest.json"]  # whoever changed the code can do that too
    with pytest.raises(InputError, match="nothing was run. .*--trust code/net.py:Own"):
        toughen.load("hf:me/mine")
    assert not Path("canary").exists()
    assert toughen.load("hf:me/mine", trust=["code/net.py"]).classes == CLASSES
    assert Path("canary").exists()


@PATHS
def test_files_that_are_there_stay_unless_asked(make_run: Make, hub: StandIn) -> None:
    folder = make_run("own class")
    toughen.push(str(folder.path), "me/mine")
    hub.repos["me/mine"]["main"]["README.md"] = b"my own words"
    with pytest.raises(InputError, match=r"me/mine has README.md, .* already; replace them .--overwrite"):
        toughen.push(str(folder.path), "me/mine")
    toughen.push(str(folder.path), "me/mine", revision="v2", private=True)
    assert hub.repos["me/mine"]["main"]["README.md"] == b"my own words"
    assert b"model-index" in hub.repos["me/mine"]["v2"]["README.md"]
    assert hub.private == set()  # it was there, and public
    commit = oid(hub.repos["me/mine"]["main"])
    hub.repos["me/mine"]["v3"] = dict(hub.repos["me/mine"]["main"])  # where that commit stays
    toughen.push(str(folder.path), "me/mine", overwrite=True)
    assert b"model-index" in hub.repos["me/mine"]["main"]["README.md"]
    hub.repos["me/mine"]["main"]["classes.json"] = b'["one", "two", "three"]'
    assert toughen.load("hf:me/mine@v2", trust=TRUST).classes == CLASSES
    assert toughen.load(f"hf:me/mine@{commit}", trust=TRUST).classes == CLASSES
    with pytest.raises(RunError, match="classes.json"):  # it is not what the manifest beside it knows
        toughen.load("hf:me/mine", trust=TRUST)


def test_a_dry_run_asks_nothing(make_run: Make, hub: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_run("own class")
    with pytest.warns(ToughenWarning, match=r"names a place on this machine: data.path=/"):
        assert push_command([str(folder.path), "me/mine", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert all(f"  {name} " in said for name in UPLOADED)
    assert "nothing was uploaded" in said
    assert hub.asked == []


@PATHS
def test_what_the_hub_refuses(make_run: Make, hub: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    run = str(make_run("own class").path)
    toughen.push(run, "me/secret", private=True)
    monkeypatch.setenv("HF_TOKEN", "hf_another")
    with pytest.raises(RunError, match="cannot push to me/other: it answers 401: log in with `hf auth login`"):
        toughen.push(run, "me/other")
    with pytest.raises(RunError, match="cannot read hf:me/secret from the hub: no such repository or revision"):
        toughen.load("hf:me/secret")
    for name, why in (("mine", "expected a repository"), ("me/mine@v1", "give the branch as --revision v1")):
        with pytest.raises(InputError, match=why):
            toughen.push(run, name)
    hub.repos["me/else"] = {"main": {"README.md": b"a dataset", "model.safetensors": b""}}
    with pytest.raises(RunError, match="hf:me/else holds no run: it has no config.yaml"):
        toughen.load("hf:me/else")


@PATHS
def test_a_run_on_the_hub_is_evaluated_predicted_and_exported(make_run: Make, hub: StandIn, tmp_path: Path) -> None:
    toughen.push(str(make_run("own class").path), "me/mine", formats=["safetensors"], trust=TRUST)
    assert "classifier.safetensors" in hub.repos["me/mine"]["main"]
    quick = {"budget": "quick", "test_images": 6, "checks": False, "device": "cpu", "trust": TRUST}
    evaluation = toughen.evaluate("hf:me/mine", **quick)
    assert (
        evaluation.report
        == Path("runs/evaluate-me-mine") / "evaluations" / evaluation.report.parent.name / "report.html"
    )
    exported = toughen.export("hf:me/mine", format="safetensors", check_images=0, trust=TRUST)
    assert exported.path == Path("mine.safetensors")
    assert toughen.load("mine.safetensors", trust=TRUST).classes == CLASSES


@pytest.mark.nightly
def test_a_hub_that_cannot_be_reached_is_a_sentence(make_run: Make, server: StandIn, tmp_path: Path) -> None:
    """Its client tries several times."""
    server.server_close()
    run = make_run("own class").path
    given = {"HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": TOKEN}
    for words, said in ((["push", str(run), "me/a"], "push to me/a"), (["predict", "hf:me/a", "b"], "read hf:me/a")):
        command = [sys.executable, "-m", "toughen", *words]
        done = subprocess.run(command, cwd=tmp_path, env={**os.environ, **given}, text=True, capture_output=True)
        assert done.returncode == 2
        assert f"toughen: cannot {said}" in done.stderr
        assert "Traceback" not in done.stderr
        assert "HF_ENDPOINT" in done.stderr.splitlines()[-1]


@pytest.mark.nightly
def test_the_environment_names_the_hub(make_run: Make, server: StandIn, tmp_path: Path) -> None:
    """As a user has it: commands in processes of their own, HF_ENDPOINT and HF_TOKEN."""
    folder = make_run("timm CNN")
    given = {"HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": TOKEN}
    for words in (
        ["push", str(folder.path), "me/timm", "--private", "--message", "first"],
        ["predict", "hf:me/timm", str(next((folder.path.parent / "images").rglob("*.png")))],
        ["evaluate", "hf:me/timm", "--budget", "quick", "--test_images", "4", "--checks", "false"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "toughen", *words],
            cwd=tmp_path,
            env={**os.environ, **given},
            text=True,
            capture_output=True,
        )
        assert done.returncode == 0, done.stderr
    assert server.private == {"me/timm"}
    assert (tmp_path / "runs" / "evaluate-me-timm" / "report.html").is_file()
