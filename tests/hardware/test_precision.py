"""Which precision auto means, and that a run leaves the user's own settings alone."""

import json
from pathlib import Path
from timeit import repeat

import pytest
import torch
import yaml

from toughen import train
from toughen.attacks import GradientAttack
from toughen.hardware import precision
from toughen.hardware.precision import PAYS, choose_precision, native_bf16, tf32
from toughen.methods import TRADES, Standard
from toughen.models import SmallCNN, build_model, forward_flops

CPU = torch.device("cpu")


INTEL = """\
processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 207
model name\t: Intel(R) Xeon(R) Processor
flags\t\t: fpu sse sse2 avx avx2 fma avx512f avx512bw avx512_vnni avx512_bf16
"""
AMD = """\
processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 25
model\t\t: 17
model name\t: AMD EPYC
flags\t\t: fpu sse sse2 avx avx2 fma avx512f avx512bw avx512_vnni avx512_bf16
"""
RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


def fits(monkeypatch: pytest.MonkeyPatch, vendor: str, avx512: bool, amx: bool) -> bool:
    """Whether a CPU of this kind counts as fast in bf16."""
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    monkeypatch.setattr(precision, "_vendor", lambda: vendor)
    return native_bf16(CPU)


@pytest.mark.parametrize(
    ("name", "cpuinfo", "expected"),
    [
        ("amd-epyc-family-25-model-17-2-cores", AMD, "bf16"),
        ("intel-xeon-family-6-model-207-2-cores", INTEL, "fp32"),
        ("", INTEL.replace("avx512_bf16", "avx512_bf16 amx_bf16 amx_tile"), "bf16"),
        ("", AMD.replace("avx512_bf16", ""), "fp32"),
    ],
)
def test_auto_by_what_the_cpu_says_of_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, cpuinfo: str, expected: str
) -> None:
    """The two kinds of CPU with AVX512-bf16; auto is the precision in which a machine's steps were measured faster."""
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    monkeypatch.setattr(precision, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(precision, "_vendor", precision._vendor.__wrapped__)
    for flag in ("avx512_bf16", "amx_tile"):
        monkeypatch.setattr(torch.cpu, f"_is_{flag}_supported", lambda flag=flag: flag in cpuinfo, raising=False)
    assert choose_precision("auto", CPU) == expected
    if name:
        rows = json.loads((RESULTS / name / "training_step.json").read_text())["rows"]
        faster = {max(("fp32", "bf16"), key=lambda each: row["ratio"][each][0]) for row in rows}
        assert faster == {expected}


def test_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    intel, amd = "vendor_id\t: GenuineIntel", "vendor_id\t: AuthenticAMD"
    assert not fits(monkeypatch, intel, avx512=False, amx=False)
    assert not fits(monkeypatch, intel, avx512=True, amx=False)
    assert fits(monkeypatch, intel, avx512=True, amx=True)
    assert not fits(monkeypatch, amd, avx512=False, amx=False)
    assert fits(monkeypatch, amd, avx512=True, amx=False)
    monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported")
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported")
    assert not native_bf16(CPU)


def test_auto_asks_for_the_size_only_where_bf16_is_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    def unasked() -> float:
        raise AssertionError

    fits(monkeypatch, "AuthenticAMD", avx512=False, amx=False)
    assert choose_precision("auto", CPU, unasked) == "fp32"
    assert choose_precision("bf16", CPU, unasked) == "bf16"
    fits(monkeypatch, "AuthenticAMD", avx512=True, amx=False)
    assert choose_precision("fp32", CPU, unasked) == "fp32"
    assert choose_precision("auto", CPU, lambda: PAYS) == "bf16"
    assert choose_precision("auto", CPU, lambda: PAYS - 1) == "fp32"
    assert choose_precision("auto", torch.device("mps"), unasked) == "fp32"


def test_flops_of_the_default_network_in_a_closed_form() -> None:
    """3 x 3 convolutions 1 -> 16 at 8 x 8, 16 -> 32 and 32 -> 32 at 4 x 4, and 128 -> 10."""
    facts = {"num_classes": 10, "in_channels": 1, "mean": [0.3], "std": [0.4]}
    expected = 2 * (64 * 9 * 16 + 16 * 9 * 16 * 32 + 16 * 9 * 32 * 32 + 128 * 10)
    found = forward_flops(build_model(SmallCNN, **facts), torch.rand(2, 1, 8, 8), 10)
    assert found == expected
    assert found < PAYS  # too small for bf16 to pay, so the default run is fp32 on every CPU


@pytest.mark.nightly
def test_where_auto_takes_bf16_it_is_faster() -> None:
    left, right = torch.randn(2, 512, 512, generator=torch.Generator().manual_seed(0))
    halves = left.bfloat16(), right.bfloat16()
    single = min(repeat(lambda: left @ right, number=1, repeat=5))
    half = min(repeat(lambda: halves[0] @ halves[1], number=1, repeat=5))
    assert native_bf16(CPU) == (single / half > 1.2)


@pytest.mark.parametrize(("options", "expected"), [({}, "fp32"), ({"precision": "bf16"}, "bf16")])
def test_a_run_records_the_precision_that_it_has(tmp_path: Path, options: dict, expected: str) -> None:
    settings = {"epochs": 1, "budget": "none", "trackers": [], "device": "cpu", "batch_size": 256, **options}
    train(method=Standard(), out=str(tmp_path / "a"), **settings)
    assert yaml.safe_load((tmp_path / "a/config.yaml").read_text())["precision"] == expected


def test_the_plain_path_is_fp32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where auto would take bf16."""
    fits(monkeypatch, "AuthenticAMD", avx512=True, amx=False)
    monkeypatch.setattr(precision, "PAYS", 0)
    settings = {"epochs": 1, "budget": "none", "trackers": [], "device": "cpu", "batch_size": 256}
    found = {}
    for fast in (True, False):
        out = tmp_path / str(fast)
        train(method=TRADES(attack=GradientAttack(steps=1)), fast=fast, out=str(out), **settings)
        found[fast] = yaml.safe_load((out / "config.yaml").read_text())["precision"]
    assert found == {True: "bf16", False: "fp32"}


def test_tf32_is_for_gpus_alone_and_only_inside() -> None:
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    with tf32(CPU, allowed=True):
        assert torch.get_float32_matmul_precision() == before[0]
    for allowed, expected in ((True, "high"), (False, "highest")):
        with pytest.raises(KeyError), tf32(torch.device("cuda"), allowed):
            assert torch.get_float32_matmul_precision() == expected
            assert torch.backends.cudnn.allow_tf32 == allowed
            raise KeyError
        assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == before
