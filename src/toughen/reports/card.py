"""A run's model card in the format of the Hugging Face hub: metadata in YAML, then what a reader should know."""

import re
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from toughen import catalog
from toughen._version import __version__
from toughen.evaluation.checks.doubts import reasons
from toughen.extras import library
from toughen.printable import one_line, visible
from toughen.reports.page import environment
from toughen.reports.run_data import RunData, read_run
from toughen.reports.text import attack_title, class_name, flatten, model_name, threat_short
from toughen.run import RunFolder
from toughen.threat import described_threat
from toughen.training import read_rows
from toughen.training.cost import in_words

_SETTINGS = (
    "method", "epochs", "batch_size", "optimizer", "schedule", "average", "awp", "augment", "label_smoothing",
    "class_weight", "cutmix", "extra", "init", "normalize", "select", "precision", "seed",
)  # fmt: skip
"""What of a configuration the card repeats."""
_TAGS = ["adversarial-robustness", "adversarial-training", "image-classification", "pytorch"]


def model_card(folder: RunFolder, repo: str | None = None, license: str | None = None) -> str:
    """The text of the README.md that goes with a run's network.

    Args:
        folder: the run's.
        repo: its name on the hub, ORG/NAME, for the commands.
        license: what the hub calls the weights' licence, such as apache-2.0; None: nothing is said of it.

    Raises:
        RunError: no such run, or a damaged file.
        ToughenError: huggingface_hub is missing.
    """
    run = read_run(folder)
    text = (
        environment()
        .overlay(autoescape=False, finalize=_filled_in)
        .get_template("card.md.j2")
        .render(
            **_known(folder, run),
            **_found(run.result),
            metadata=Markup(_metadata(run, license)),
            title=repo.rpartition("/")[2] if repo else run.name,
            repo=repo and Markup(repo),
        )
    )
    return re.sub(r"\n{3,}", "\n\n", text).rstrip() + "\n"


def _known(folder: RunFolder, run: RunData) -> dict[str, Any]:
    """What does not need an evaluation."""
    rows = read_rows(folder.metrics) if folder.metrics.exists() else []
    config, method = run.config, class_name(run.config["method"]) if "method" in run.config else None
    entry = catalog.classes("methods").get(method or "")
    settings = flatten({name: config[name] for name in _SETTINGS if config.get(name) is not None})
    threat = run.result.get("threat") or config.get("threat")
    return {
        "model": model_name(config, run.result),
        "method": method,
        "about_method": Markup(entry.summary) if entry else f"{method}, a method of one's own.",
        "classes": folder.read_classes() or run.result.get("data", {}).get("classes") or (),
        "shape": folder.read_shape(),
        "source": source if re.fullmatch(r"\w+", source := class_name(config.get("data"))) else "DATA",
        "threat": threat_short(threat) if threat else None,
        "allowed": described_threat(threat).sentence() if threat else "",
        "settings": list(settings.items()),
        "cost": in_words(rows) if rows and "device_hours" in rows[-1] else None,
        "version": __version__,
    }


def _found(result: Mapping[str, Any]) -> dict[str, Any]:
    """What the evaluation says."""
    if not result:
        return {"figures": [], "robust": None, "weakest": None, "analyses": [], "protocol": []}
    by_class = sorted(result.get("per_class", []), key=lambda each: each["robust"]["accuracy"])
    data = result["data"]
    protocol = {
        "threat model": threat_short(result["threat"]),
        "attacks": ", ".join(attack_title(name) for name in result["figures"] if name != "clean"),
        "budget, seed, batch size": f"{result['budget']}, {result.get('seed', '-')}, {result.get('batch_size', '-')}",
        "images": f"{data['name']} ({data['split']}), {result['robust_accuracy']['n']} of {data.get('n_total', '-')}",
        "SHA-256 of images and labels": data["sha256"],
        "SHA-256 of the weights": result["model"]["sha256"],
        **result["versions"],
    }
    return {
        "figures": [(attack_title(name), figure) for name, figure in result["figures"].items()],
        "robust": result["robust_accuracy"],
        "data": data,
        "sampled": " drawn by class" if result["sample"] == "by_class" else "",
        "budget": result["budget"],
        "complete": result.get("complete", True),
        "reasons": reasons(result),
        "warnings": result["warnings"],
        "weakest": by_class[0] if len(by_class) > 1 else None,
        "strongest": by_class[-1] if len(by_class) > 1 else None,
        "analyses": [name.replace("_", " ") for name in result.get("analyses", {}) if name != "self_checks"],
        "protocol": list(protocol.items()),
    }


def _metadata(run: RunData, license: str | None) -> str:
    """The YAML block, as the hub reads it."""
    hub = library("huggingface_hub", "hub")
    facts: dict[str, Any] = {"library_name": "toughen", "pipeline_tag": "image-classification", "tags": _TAGS}
    if license is not None:
        facts["license"] = license
    if run.result:
        facts |= {"model_name": one_line(run.name), "eval_results": _results(run.result), "metrics": ["accuracy"]}
    return f"---\n{hub.ModelCardData(**facts).to_yaml()}\n---"


def _results(result: Mapping[str, Any]) -> list[Any]:
    """Clean and robust accuracy, for the hub's own tables."""
    hub = library("huggingface_hub", "hub")
    data = result["data"]
    attacks = ", ".join(attack_title(name) for name in result["figures"] if name != "clean")
    names = {
        "clean accuracy": result["figures"]["clean"],
        f"robust accuracy ({threat_short(result['threat'])}; {attacks})": result["robust_accuracy"],
    }
    return [
        hub.EvalResult(
            task_type="image-classification",
            dataset_type=re.sub(r"[^\w.-]+", "-", data["name"]).lower(),
            dataset_name=one_line(data["name"]),
            dataset_split=one_line(data["split"]),
            metric_type="accuracy",
            metric_name=one_line(name),
            metric_value=round(figure["accuracy"], 4),
            metric_args={"interval": [round(each, 4) for each in figure["interval"]], "n": figure["n"]},
        )
        for name, figure in names.items()
    ]


def _filled_in(value: Any) -> str:
    """What a template is filled with: of text that is not ours no mark of Markdown or HTML, and one line."""
    if isinstance(value, Markup):
        return value
    return re.sub(r"([\\`*_{}\[\]<>|#])", r"\\\1", visible(" ".join(str(value).split())))
