"""Texts of figures, the same in the terminal and in the pages. Pure functions."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from toughen.numbers import as_float, as_text


def percent(share: float) -> str:
    """A share as a percentage with one decimal.

    >>> percent(0.625)
    '62.5 %'
    """
    return f"{100 * share:.1f} %"


def bounds(interval: Sequence[float]) -> str:
    """A confidence interval of a share in per cent, for a table's cell.

    >>> bounds([0.574, 0.6731])
    '57.4 to 67.3'
    """
    low, high = interval
    return f"{100 * low:.1f} to {100 * high:.1f}"


def interval(of: Sequence[float]) -> str:
    """A confidence interval in a sentence.

    >>> interval([0.574, 0.6731])
    '57.4 to 67.3 %'
    """
    return f"{bounds(of)} %"


def points(difference: float) -> str:
    """A difference of two shares, in percentage points, with its sign.

    >>> points(-0.031)
    '-3.1 points'
    """
    return f"{100 * difference:+.1f} points"


def p_value(p: float) -> str:
    """A p-value as tables print it.

    >>> p_value(0.0312), p_value(1e-9)
    ('0.031', '< 0.001')
    """
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def duration(seconds: float) -> str:
    """A time in the unit a reader expects.

    >>> duration(0.01), duration(0.26), duration(41.3), duration(3 * 60 + 5), duration(7260)
    ('< 0.1 s', '0.3 s', '41 s', '3 min 05 s', '2 h 01 min')
    """
    if seconds < 0.1:
        return "< 0.1 s"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def moment(iso: str) -> str:
    """A point in time as a reader wants it; text that is not ISO 8601 stays as it is.

    >>> moment("2026-01-31T12:05:09.123456+00:00")
    '2026-01-31 12:05 UTC'
    """
    try:
        return f"{datetime.fromisoformat(iso):%Y-%m-%d %H:%M %Z}".strip()
    except ValueError:
        return iso


def attack_title(name: str) -> str:
    """An attack's name as papers write it; an unknown name stays as it is.

    >>> attack_title("pgd20_margin"), attack_title("apgd50"), attack_title("autoattack"), attack_title("clean")
    ('PGD-20 margin', 'APGD-50', 'AutoAttack', 'No attack')
    >>> attack_title("transfer_trades"), attack_title("mine")
    ('transfer from trades', 'mine')
    """
    steps = re.fullmatch(r"(a?pgd)(\d+)_?(.*)", name)
    if steps:
        return f"{steps[1].upper()}-{steps[2]} {steps[3]}".strip()
    if name.startswith("transfer_"):
        return f"transfer from {name.removeprefix('transfer_')}"
    if name.startswith("further_"):
        return f"further: {name.removeprefix('further_').replace('square', 'Square').replace('spsa', 'SPSA')}"
    known = {"clean": "No attack", "fgsm": "FGSM", "autoattack": "AutoAttack", "square": "Square", "malt": "MALT"}
    return {**known, "audit": "AutoAttack, by audit"}.get(name, name)


def threat_short(threat: Mapping[str, Any]) -> str:
    """Norm and radius in a few characters.

    >>> threat_short({"norm": "linf", "eps": 8 / 255})
    'linf 8/255'
    """
    return f"{threat['norm']} {as_text(as_float(threat['eps'], 'threat.eps'))}"


def flatten(value: Any, prefix: str = "") -> dict[str, str]:
    """Nested settings as dotted names with their values as text.

    A class with settings shows under its own name, without the module.

    >>> flatten({"method": {"class_path": "my.methods.TRADES", "init_args": {"beta": 6.0}}, "seed": 0})
    {'method': 'TRADES', 'method.beta': '6.0', 'seed': '0'}
    """
    if isinstance(value, Mapping) and "class_path" in value:
        return {prefix: class_name(value), **flatten(value.get("init_args") or {}, prefix)}
    if isinstance(value, Mapping):
        rows: dict[str, str] = {}
        for name, item in value.items():
            rows |= flatten(item, f"{prefix}.{name}" if prefix else str(name))
        return rows
    if isinstance(value, list | tuple):
        return {prefix: ", ".join(str(item) for item in value)}
    return {prefix: "none" if value is None else str(value)}


def class_name(setting: Any) -> str:
    """The bare name of a class that a configuration names; a dash where it names none.

    >>> class_name({"class_path": "toughen.models.resnet.ResNet18"}), class_name("my.Net"), class_name(None)
    ('ResNet18', 'Net', '-')
    """
    path = setting.get("class_path") if isinstance(setting, Mapping) else setting
    return str(path).rpartition(".")[2] if path else "-"


def model_name(config: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    """Name of the network: as the configuration calls it, else the class that was evaluated.

    >>> model_name({}, {"model": {"class": "torchvision.models.resnet.ResNet"}})
    'ResNet'
    """
    return class_name(config.get("model") or result.get("model", {}).get("class"))
