"""The examples for clusters, as far as they run here: SLURM's with stand-ins for its commands, SkyPilot's parsed."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from toughen.cli.train import parser
from toughen.reading.tensors import read_tensors

EXAMPLES = Path(__file__).parents[2] / "examples"
SBATCH, SKYPILOT = EXAMPLES / "slurm.sbatch", yaml.safe_load((EXAMPLES / "skypilot.yaml").read_text())
SRUN = """#!{python}
import os, signal, subprocess, sys
command = sys.argv[2:]
tasks = [
    subprocess.Popen(command, env={{**os.environ, "SLURM_PROCID": str(i), "SLURM_LOCALID": str(i)}}) for i in range(2)
]
signal.signal(signal.SIGUSR1, lambda number, frame: [task.send_signal(number) for task in tasks])
open("srun.pid", "w").write(str(os.getpid()))
sys.exit(max([task.wait() for task in tasks]))
"""
SCONTROL = """#!/bin/bash
if [ "$1" = show ]; then echo localhost; else echo "$@" >> requeued; fi
"""
TRAINING = (
    "-m toughen train --epochs 2 --val_images 157 --batch_size 64 --device cpu --trackers [] --budget none --workers 0 "
    "--model.width 4 --method PGDAT --method.attack.steps 3 --checkpoint_every 2 --log_every 1 --resume auto"
)


def commands() -> dict[str, str]:
    """What the examples tell toughen to do."""
    slurm = re.search(r"COMMAND=\$\{COMMAND:-(.*?)\}", SBATCH.read_text(), re.DOTALL)
    sky = re.search(r"-m (toughen .*)", SKYPILOT["run"].replace("\\\n", ""))
    assert slurm and sky
    return {"slurm": slurm[1], "skypilot": sky[1]}


@pytest.mark.parametrize("name", ["slurm", "skypilot"])
def test_the_command_is_understood(name: str) -> None:
    toughen, train, *arguments = shlex.split(commands()[name])
    assert (toughen, train) == ("toughen", "train")
    settings = parser().parse(arguments).settings
    assert settings["resume"] == "auto" and settings["sync_batchnorm"] and settings["out"]


@pytest.mark.parametrize(
    "script", [SBATCH.read_text(), SKYPILOT["setup"], SKYPILOT["run"]], ids=["sbatch", "setup", "run"]
)
def test_the_shell_can_read_it(script: str) -> None:
    subprocess.run(["bash", "-n"], input=script, text=True, check=True, capture_output=True)


def test_the_fields_are_those_of_skypilot() -> None:
    assert SKYPILOT.keys() <= {"name", "num_nodes", "resources", "envs", "file_mounts", "setup", "run", "workdir"}
    assert SKYPILOT["resources"].keys() <= {"accelerators", "use_spot", "disk_size", "any_of", "infra"}
    assert {mount["mode"] for mount in SKYPILOT["file_mounts"].values()} <= {"MOUNT", "COPY", "MOUNT_CACHED"}
    given = {name for name in re.findall(r"\$\{?([A-Z_]+)", SKYPILOT["run"]) if not name.startswith("SKYPILOT_")}
    assert given <= SKYPILOT["envs"].keys()
    assert any(SKYPILOT["run"].count(place) for place in SKYPILOT["file_mounts"])


@pytest.mark.nightly
def test_two_slurm_tasks_out_of_time_are_requeued_and_end_as_if_they_had_had_it(tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, text in (("srun", SRUN.format(python=sys.executable)), ("scontrol", SCONTROL)):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)

    def job(number: int, out: str) -> "subprocess.Popen[str]":
        environment = {
            **os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "SLURM_JOB_ID": str(number), "SLURM_NTASKS": "2",
            "SLURM_JOB_NODELIST": "localhost", "OMP_NUM_THREADS": "1",
            "COMMAND": f"{sys.executable} {TRAINING} --out {out}",
        }  # fmt: skip
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(["bash", str(SBATCH)], cwd=tmp_path, env=environment, text=True, **pipes)

    whole = job(4101, "whole")
    _, said = whole.communicate(timeout=300)
    assert whole.returncode == 0, said
    assert not (tmp_path / "requeued").exists()
    (tmp_path / "srun.pid").unlink()

    stopped = job(4102, "stopped")
    end = time.monotonic() + 200
    while not (tmp_path / "stopped/checkpoints/last/state.json").exists():
        assert time.monotonic() < end
        time.sleep(0.02)
    os.kill(int((tmp_path / "srun.pid").read_text()), signal.SIGUSR1)
    _, said = stopped.communicate(timeout=200)
    assert stopped.returncode == 130, said
    assert (tmp_path / "requeued").read_text() == "requeue 4102\n"
    again = job(4102, "stopped")
    _, said = again.communicate(timeout=300)
    assert again.returncode == 0, said
    one, other = (read_tensors(tmp_path / name / "model.safetensors") for name in ("whole", "stopped"))
    assert all((one[name] == other[name]).all() for name in one)
