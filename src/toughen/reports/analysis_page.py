"""Explanations in a folder: figures as JSON, arrays as Parquet, everything on one page."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from toughen._version import __version__
from toughen.analysis.explanation import Explanation, Figure, Insight, Picture, interval_text
from toughen.analysis.together import Explanations
from toughen.reports.explained import FIGURES, PAGE
from toughen.reports.images import data_uri
from toughen.reports.page import render, write_page
from toughen.reports.plots.pictures import limits_of, picture_plot, series_of
from toughen.reports.text import moment
from toughen.run import atomic


def is_analysis(folder: Path) -> bool:
    """Whether an analysis was written into a folder, and no run or anything else."""
    return (folder / FIGURES).is_file() and (folder / PAGE).is_file() and not (folder / "config.yaml").exists()


def write_analysis(found: Explanations, explanations: Mapping[str, Explanation], folder: Path) -> Path:
    """Write analysis.json, a Parquet file for each table of arrays, and analysis.html as a folder, in place of another.

    Returns:
        Path: the page.

    Raises:
        RunError: the disk cannot be written.
    """
    with atomic(folder) as temporary:  # whole or not at all, and without files of the one before
        temporary.mkdir()
        _write(found, explanations, temporary)
    return folder / PAGE


def _write(found: Explanations, explanations: Mapping[str, Explanation], folder: Path) -> None:
    created = datetime.now(UTC).isoformat(timespec="seconds")
    sections = [
        _section(name, explanation, found, folder)
        for name, explanation in explanations.items()
        if name in found.insights
    ]
    shared = [_shared(name, insight, folder) for name, insight in found.shared.items()]
    (folder / FIGURES).write_text(json.dumps(_plain(found, created), indent=2))
    networks = list(dict.fromkeys(name for each in found.insights.values() for name in each))
    text = {"networks": networks, "images": found.images, "attack": found.attack, "created": moment(created)}
    write_page(folder / PAGE, render("analysis", sections=sections, shared=shared, **text))


def _plain(found: Explanations, created: str) -> dict[str, Any]:
    def figures(each: Mapping[str, Figure]) -> dict[str, Any]:
        return {name: _without_nan(figure.plain()) for name, figure in each.items()}

    return {
        "schema": 1,
        "toughen": __version__,
        "created": created,
        "images": found.images,
        "attack": found.attack,
        "weights": dict(found.weights),
        "explanations": {
            name: {
                network: {"sentence": insight.sentence, "figures": figures(insight.figures)}
                for network, insight in insights.items()
            }
            for name, insights in found.insights.items()
        },
        "differences": {
            name: {network: figures(each) for network, each in found.differences(name).items()}
            for name in found.insights
        },
        "shared": {name: {"sentence": insight.sentence} for name, insight in found.shared.items()},
    }


def _without_nan(figure: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN and no infinity."""
    known = math.isfinite(figure["value"])
    interval = figure["interval"]
    finite = interval is not None and all(map(math.isfinite, interval))
    return {**figure, "value": figure["value"] if known else None, "interval": interval if finite else None}


def _section(name: str, explanation: Explanation, found: Explanations, folder: Path) -> dict[str, Any]:
    insights, differences = found.insights[name], found.differences(name)
    rows = list(dict.fromkeys(figure for each in insights.values() for figure in each.figures))
    for network, insight in insights.items():
        _write_arrays(folder, f"{name}-{network}", insight)
    alike: dict[str, list[Picture]] = {}
    for picture in (each for insight in insights.values() for each in insight.pictures):
        alike.setdefault(picture.title, []).append(picture)
    limits = {title: limits_of(pictures) for title, pictures in alike.items() if len(pictures) > 1}
    return {
        "name": name,
        "title": explanation.title,
        "source": explanation.source,
        "about": (type(explanation).__doc__ or "").strip().partition("\n")[0],
        "insights": [
            {
                "network": network,
                "sentence": insight.sentence,
                "pictures": [
                    _drawn(replace(each, limits=limits.get(each.title)), f"{name}-{place}-{number}", insight.sentence)
                    for number, each in enumerate(insight.pictures)
                ],
            }
            for place, (network, insight) in enumerate(insights.items())
        ],
        "networks": list(insights),
        "rows": [_row(figure, insights, differences) for figure in rows],
    }


def _row(name: str, insights: Mapping[str, Insight], differences: Mapping[str, Mapping[str, Figure]]) -> dict[str, Any]:
    figures = {network: insight.figures[name] for network, insight in insights.items() if name in insight.figures}
    cells = []
    for network in insights:
        figure, difference = figures.get(network), differences.get(network, {}).get(name)
        told = difference is not None and difference.interval is not None and not _holds_zero(difference.interval)
        cells.append({
            "text": "" if figure is None or not math.isfinite(figure.value) else interval_text(figure),
            "difference": "" if difference is None else _signed(difference),
            "told": told,
        })  # fmt: skip
    first = next(iter(figures.values()))
    return {"name": name, "says": first.says, "better": first.better, "cells": cells}


def _signed(difference: Figure) -> str:
    """`+0.12 (0.10 to 0.14)`."""
    return ("+" if difference.value >= 0 else "") + interval_text(difference)


def _holds_zero(interval: tuple[float, float]) -> bool:
    return interval[0] <= 0 <= interval[1]


def _shared(name: str, insight: Insight, folder: Path) -> dict[str, Any]:
    _write_arrays(folder, f"shared-{name}", insight)
    pictures = [_drawn(each, f"shared-{name}-{place}", insight.sentence) for place, each in enumerate(insight.pictures)]
    return {"sentence": insight.sentence, "pictures": pictures}


def _drawn(picture: Picture, name: str, beside: str) -> dict[str, Any]:
    """What the page shows of a picture; its sentence stands below unless it is the one beside it."""
    sees = "" if picture.sees == beside else picture.sees
    drawn: dict[str, Any] = {"title": picture.title, "sees": sees, "plot": None, "rows": [], "legend": []}
    if picture.kind == "images":
        rows = picture.data["rows"].items()
        drawn["rows"] = [
            {"name": row, "images": [data_uri(np.asarray(each)) for each in images]} for row, images in rows
        ]
    else:
        drawn |= {"plot": picture_plot(picture, re.sub(r"\W", "-", name)), "legend": series_of(picture)}
    return drawn


def _write_arrays(folder: Path, name: str, insight: Insight) -> None:
    if insight.arrays:
        file = re.sub(r"[^\w.-]", "_", name)  # an evaluation's name has its run's before it
        table = pa.table({column: pa.array(values) for column, values in insight.arrays.items()})
        pq.write_table(table, folder / f"{file}.parquet")
