"""What an exported file says of itself, each part as JSON text by its name."""

import json
from typing import Any

from toughen._version import __version__
from toughen.models.load import LoadedClassifier
from toughen.run import RunFolder
from toughen.threat import ThreatModel


def facts_of(
    classifier: LoadedClassifier, folder: RunFolder, shape: tuple[int, int, int], model: Any = None
) -> dict[str, str]:
    """Classes, images, threat model, figures with their intervals, and where it comes from.

    Args:
        classifier: the run's.
        folder: the run's.
        shape: channels, height and width of an image.
        model: how the network is built, for a file that holds its weights alone.
    """
    result = classifier.result
    facts: dict[str, Any] = {
        "classes": classifier.classes,
        "shape": list(shape),
        "images": "float32 in [0, 1], N x C x H x W; normalisation is inside",
        "output": "logits, N x classes",
        "threat": _described(classifier.threat),
        "figures": {
            name: {part: figure[part] for part in ("accuracy", "interval", "n")}
            for name, figure in classifier.figures.items()
        },
        "evaluation": {name: result[name] for name in ("budget", "data", "key") if name in result},
        "weights": result.get("model", {}).get("sha256"),
        "run": folder.name,
        "toughen": __version__,
        "model": model,
    }
    return {name: json.dumps(value, ensure_ascii=False) for name, value in facts.items() if value is not None}


def _described(threat: ThreatModel | None) -> dict[str, Any] | None:
    return None if threat is None else {"norm": threat.norm, "eps": threat.radius}
