"""Course of the training: validation accuracy, every loss term and the learning rate, over the epochs."""

import math
from typing import Any

from toughen.reports.plots import legend, line_plot
from toughen.reports.run_data import RunData
from toughen.reports.sections import Section
from toughen.reports.text import duration
from toughen.training.trace.record import Record

Wanted = tuple[str, str, str, dict[str, list[float] | None]]
"""Name, title, unit and values by name of a plot."""


def build(run: RunData) -> dict[str, Any] | None:
    """The plots for which the metrics have columns."""
    metrics = run.metrics
    epochs = metrics.get("epoch", [])
    if not epochs:
        return None
    accuracy = {"clean": metrics.get("val_clean"), "PGD": metrics.get("val_pgd")}
    losses = {"total": metrics.get("train_loss")} | {
        name.removeprefix("loss/"): values for name, values in metrics.items() if name.startswith("loss/")
    }
    wanted: list[Wanted] = [
        ("validation", "Accuracy on the validation split", "%", accuracy),
        ("losses", "Training loss and its terms", "", losses),
        ("rate", "Learning rate", "", {"learning rate": metrics.get("lr")}),
    ]
    wanted += _recorded(run.record, epochs)
    plots = []
    for name, title, unit, series in wanted:
        known = {key: values for key, values in series.items() if values and any(map(math.isfinite, values))}
        if known:
            drawing = line_plot(epochs, known, name=name, title=title, unit=unit)
            plots.append({"title": title, "svg": drawing, "legend": legend(known, unit)})
    return {"plots": plots, "facts": _facts(metrics), "events": run.events} if plots else None


def _recorded(record: Record, epochs: list[float]) -> list[Wanted]:
    """What `--trace` recorded, where it did."""

    def course(prefix: str) -> dict[str, list[float] | None]:
        known = {name: dict(zip(*each, strict=True)) for name, each in record.course(prefix).items() if "/" not in name}
        return {name: [values.get(epoch, math.nan) for epoch in epochs] for name, values in known.items()}

    broken = {"images": course("broken").get("")} | course("on_broken/")
    return [
        ("conflict", "Cosine between the gradients of the loss terms", "", course("cosine/")),
        ("shares", "Share of images that each weighting counts (Kish)", "%", course("effective_share/")),
        ("broken", "Weight on images that the attack broke", "%", broken),
    ]


def _facts(metrics: dict[str, list[float]]) -> list[str]:
    """Epochs, time and speed, as far as they were recorded."""
    facts = [f"{len(metrics['epoch'])} epochs"]
    seconds = [value for value in metrics.get("seconds", []) if math.isfinite(value)]
    speeds = sorted(value for value in metrics.get("images_per_second", []) if math.isfinite(value))
    if seconds:
        facts.append(f"{duration(sum(seconds))} in all")
    if speeds:
        facts.append(f"{speeds[len(speeds) // 2]:,.0f} images a second (median epoch)")
    return facts


SECTION = Section("training", 75, "Training", "Training", build)
