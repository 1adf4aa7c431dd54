"""What an evaluation consists of, as plain data, and the key that its verdicts are kept under."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from toughen._version import __version__
from toughen.evaluation.preflight import Finding
from toughen.evaluation.records.verdicts import SCHEMA
from toughen.reading.figure import Some
from toughen.reading.files import read_json, readable
from toughen.reading.result import AttackSettings, DataFacts, FindingFacts, ModelFacts
from toughen.reading.schema import Count, UnfitError
from toughen.run import atomic


class ProtocolFacts(TypedDict):
    """What of a protocol is read again."""

    threat: dict[str, Any]
    attacks: dict[str, AttackSettings]
    n: Some
    batch_size: Some
    eot: NotRequired[Count]
    precision: NotRequired[str]
    data: NotRequired[DataFacts]
    model: NotRequired[ModelFacts]


class _WholeFinding(FindingFacts):
    """A finding with its figures."""

    figures: dict[str, Any]


class Probe(TypedDict):
    """See `probe.probe`."""

    logits: NotRequired[list[list[float]]]
    gradients: NotRequired[list[list[float]]]
    own_draws: NotRequired[bool]


class Specification(TypedDict):
    """What evaluation.json holds."""

    key: str
    protocol: ProtocolFacts
    preflight: list[_WholeFinding]
    probe: Probe


FINDING = ("name", "severity", "message", "figures")


@dataclass(frozen=True)
class EvaluationSpec:
    """Enough to recognise, join and report the verdicts of an evaluation without its model and images.

    Attributes:
        protocol: threat, attack settings, hashes of model and data, sample, seed, batch size, precision.
        findings: what was seen before the first attack.
        probe: what the model gave for a few images; see `probe`. No part of the key.
    """

    protocol: Mapping[str, Any]
    findings: tuple[Finding, ...] = ()
    probe: Mapping[str, Any] = field(default_factory=dict)

    @property
    def warnings(self) -> tuple[str, ...]:
        """The messages of the doubts among the findings."""
        return tuple(finding.message for finding in self.findings if finding.severity == "doubt")

    @property
    def random(self) -> bool:
        """Whether the model answers at random, or is attacked as one that does."""
        return self.protocol["eot"] > 1 or any(finding.name == "randomness" for finding in self.findings)

    @property
    def attacks(self) -> tuple[str, ...]:
        """Names of the attacks, in the order in which they run."""
        return tuple(self.protocol["attacks"])

    @property
    def n(self) -> int:
        """How many images are to be attacked."""
        return int(self.protocol["n"])

    @property
    def batches(self) -> int:
        """How many batches they make."""
        return math.ceil(self.n / self.size)

    @property
    def size(self) -> int:
        """Images in a batch; the last one may be smaller."""
        return int(self.protocol["batch_size"])

    def images_in(self, batch: int) -> int:
        """Images in one batch."""
        return min(self.size, self.n - batch * self.size)

    @cached_property
    def key(self) -> str:
        """SHA-256 over all that verdicts depend on: weights, images, labels, threat, attacks, seed, batches, versions.

        Neither device nor torch's version is part of it, so that shards of different machines join; the result says
        where they differed.
        """
        facts = {
            "schema": SCHEMA,
            "protocol": self.protocol,
            "order": self.attacks,
            "versions": {"toughen": __version__, "pyautoattack": version("pyautoattack")},
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def differences(self, other: "EvaluationSpec") -> list[str]:
        """Names of what the two do not have in common, such as threat.eps or model.sha256; both values where short.

        >>> first, second = ({"attacks": {}, "n": 4, "threat": {"eps": eps}} for eps in (0.1, 0.2))
        >>> EvaluationSpec(first).differences(EvaluationSpec(second))
        ['threat.eps (0.1, 0.2)']
        """
        mine, theirs = _flat(self.protocol), _flat(other.protocol)
        return [
            f"{name} ({mine.get(name, 'none')[:12]}, {theirs.get(name, 'none')[:12]})"
            for name in mine | theirs
            if mine.get(name) != theirs.get(name)
        ]

    def write(self, path: Path) -> None:
        """Write as JSON, with the key."""
        facts = {
            "key": self.key,
            "protocol": self.protocol,
            "preflight": [finding.plain() for finding in self.findings],
            "probe": self.probe,
        }
        with atomic(path) as temporary:
            temporary.write_text(json.dumps(facts, indent=2))

    @classmethod
    def read(cls, path: Path) -> "EvaluationSpec":
        """Read what `write` wrote.

        Raises:
            RunError: a damaged file, or one of another version of toughen, whose verdicts are not to be mixed in.
        """
        with readable(path, "delete its folder, and it is computed again"):
            facts = read_json(path, Specification)
            findings = tuple(Finding(**{name: found[name] for name in FINDING}) for found in facts["preflight"])
            spec = cls(facts["protocol"], findings, facts["probe"])
            if spec.key != facts["key"]:
                raise UnfitError("it comes from another version of toughen or pyautoattack, or was changed")
        return spec


def plain(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts as they are read back from JSON, so that what was written equals what is read.

    >>> plain({"size": (3, 8)})
    {'size': [3, 8]}
    """
    return json.loads(json.dumps(facts))


def _flat(value: Any, prefix: str = "") -> dict[str, str]:
    if isinstance(value, Mapping):
        rows: dict[str, str] = {}
        for name, item in value.items():
            rows |= _flat(item, f"{prefix}.{name}" if prefix else str(name))
        return rows
    return {prefix: str(value)}
