"""Explain why runs withstand or do not."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

import torch

from toughen.analysis.black_box import with_transfers
from toughen.analysis.catalog import chosen
from toughen.analysis.explanation import Explained, Explanation, Insight
from toughen.analysis.together import Explanations, in_common
from toughen.attacks import PGD
from toughen.commands.compare import shared_folder
from toughen.commands.images.kept import check_same_split
from toughen.commands.images.of_run import images_of_split
from toughen.commands.trainings.as_trained import as_trained
from toughen.contracts import check_arguments
from toughen.data import DataSource, sample_by_class
from toughen.data.source import ImageSet
from toughen.errors import InputError
from toughen.hardware.device import find_device
from toughen.models.inference import frozen
from toughen.models.load import load_model
from toughen.numbers import check_number
from toughen.random_state import seeded
from toughen.reports.analysis_page import is_analysis, write_analysis
from toughen.reports.page import is_ours, write_report
from toughen.run import RunFolder
from toughen.run.manifest import checksum
from toughen.settings.stored import stored_object
from toughen.settings.trust import obeying_trust
from toughen.threat import ThreatModel
from toughen.training.trace.record import read_record

ATTACK = PGD(steps=20, keep_best=True, loss="margin")
ATTACK_SAYS = "PGD (20 steps on the margin, the best point kept)"
BATCHES = 8
BESIDE = 0.5
"""Seconds that an explanation's figures and pictures take beside the passes of a network."""


@dataclass(frozen=True)
class Analyzed:
    """What `analyze` gives back.

    Attributes:
        explanations: what was found.
        folder: where figures (analysis.json), arrays (Parquet) and the page lie.
        page: the page.
    """

    explanations: Explanations
    folder: Path
    page: Path


@obeying_trust
def analyze(
    runs: list[str],
    *,
    only: list[str] = [],  # noqa: B006 - never changed
    images: int = 500,
    seed: int = 0,
    device: str = "auto",
    out: str | None = None,
    overwrite: bool = False,
    trust: Sequence[str] = (),
    progress: Callable[[str], None] | None = None,
) -> Analyzed:
    """Explain why runs withstand or do not: gradient conflict, statistics, surfaces, outputs, features and bounds.

    All runs are shown the same test images, and what PGD-20 on the margin makes of them on each network. Several runs
    are set beside each other: differences from the first are paired image by image.

    Args:
        runs: run folders, such as runs/*; all of the same data.
        only: explanations to make, such as conflict,bound; default all: conflict, mixture, surface, outputs, features,
            saliency, bound, black_box, images, distillation.
        images: how many test images, drawn by class.
        seed: of the images and all other draws.
        device: where it is computed: auto, cpu, cuda or cuda:1.
        out: folder for the result; default the run's folder analysis, for several the folder analysis beside them,
            where their reports find it and show its sentences.
        overwrite: replace an earlier analysis there.
        trust: what the runs' files may name beside this package's classes and its libraries' networks, such as
            my_package.Net or my_package; their code is run.
        progress: told first about how long all of it takes, then what is done next.

    Returns:
        Analyzed: figures with intervals, pictures and arrays, which lie in the folder too, and the page.

    Raises:
        InputError: no run, an unknown explanation, or runs of different data.
        RunError: a folder without a trained network; something else at the place of the result.
    """
    check_arguments(analyze, {name: value for name, value in locals().items() if name != "runs"})
    check_number("images", images, least=10, whole=True)
    folders = [RunFolder(run) for run in dict.fromkeys([runs] if isinstance(runs, str) else map(str, runs))]
    # `runs/*` also names the pages and folders that earlier comparisons and analyses left there.
    folders = [each for each in folders if each.path.is_dir() and not is_analysis(each.path)]
    if not folders:
        raise InputError(
            "analyze: expected at least one run folder, got none; for example `toughen analyze runs/trades`"
        )
    explanations = chosen(only)
    place = Path(out) if out else (folders[0].path if len(folders) == 1 else shared_folder(folders)) / "analysis"
    _check_free(place, overwrite)
    say = progress or (lambda text: None)
    networks = _networks(folders, images, seed, find_device(device), device)
    say(_estimate(networks, explanations))
    explained = []
    for network in networks:
        say(f"perturbing the images of {network.name}")
        explained.append(_attacked(network))
    if "black_box" in explanations:
        explained = with_transfers(explained)
    found: dict[str, dict[str, Insight]] = {}
    for name, explanation in explanations.items():
        for network in explained:
            say(f"{name} of {network.name}")
            with seeded(seed):
                insight = explanation.explain(network)
            if insight is not None:
                found.setdefault(name, {})[network.name] = insight
    weights = {each.name: checksum(folder.model) for each, folder in zip(explained, folders, strict=True)}
    result = Explanations(found, in_common(explained), len(explained[0].images), ATTACK_SAYS, weights)
    page = write_analysis(result, explanations, place)
    if out is None:  # there a report looks for it
        for folder in folders:
            if is_ours(folder.report):
                say(f"the report of {folder.name}")
                write_report(folder)
    return Analyzed(result, place, page)


def _check_free(place: Path, overwrite: bool) -> None:
    """Raise unless an analysis may be written to a place; only another analysis is ever replaced."""
    if not place.exists() or (place.is_dir() and not any(place.iterdir())):
        return
    if not is_analysis(place):
        raise InputError(f"{place} is there and is no analysis, so it stays; give another --out")
    if not overwrite:
        raise InputError(f"{place} has an analysis already; replace it with --overwrite, or give another --out")


def _networks(folders: Sequence[RunFolder], count: int, seed: int, device: torch.device, name: str) -> list[Explained]:
    """Each run's network with the same images, not yet perturbed."""
    sets: tuple[ImageSet, ImageSet] | None = None
    explained = []
    described = [folder.read_config().get("data") for folder in folders]
    own = [folder.name for folder in folders]
    called = [name if own.count(name) == 1 else str(each.path) for name, each in zip(own, folders, strict=True)]
    for folder, data, as_called in zip(folders, described, called, strict=True):
        if data != described[0]:
            raise InputError(
                f"analyze: expected runs of the same data, but {folder.path} has {data}, {folders[0].path} "
                f"{described[0]}; analyze them one by one"
            )
        source: DataSource = stored_object({"data": data}, "data", DataSource, folder.config)
        if sets is None:
            check_same_split(folders)
            sets = images_of_split(source, "train", folder), images_of_split(source, "test", folder)
        names = folder.read_classes()
        train, test = (each if names is None else each.in_order_of(names, str(folder.classes)) for each in sets)
        explained.append(replace(_network(folder, train, test, count, seed, device, name), name=as_called))
    return explained


def _network(
    folder: RunFolder, train: ImageSet, test: ImageSet, count: int, seed: int, device: torch.device, name: str
) -> Explained:
    config = folder.read_config()
    threat: ThreatModel = stored_object(config, "threat", ThreatModel, folder.config)
    model = load_model(folder).to(device).requires_grad_(False)
    places = sample_by_class(test.labels, min(count, len(test)), seed)
    places = places[torch.randperm(len(places), generator=torch.Generator().manual_seed(seed))]
    images, labels = (each.to(device) for each in test.subset(places))
    training = as_trained(folder, train, name, BATCHES)
    return Explained(
        folder.name, model, images, images, labels, test.classes, threat, seed, training=training,
        record=read_record(folder),
    )  # fmt: skip


def _attacked(network: Explained) -> Explained:
    """The network with what the attack makes of its images."""
    generator = torch.Generator(network.images.device).manual_seed(network.seed)
    with frozen(network.model, network.images.device) as still:
        perturbed = torch.cat([
            ATTACK.run(still, images, labels, network.threat, generator).adversarial
            for images, _, labels in network.batches()
        ])  # fmt: skip
    return replace(network, perturbed=perturbed)


def _estimate(networks: Sequence[Explained], explanations: Mapping[str, Explanation]) -> str:
    """About how long it takes, from the time of a forward pass."""
    seconds = 0.0
    for network in networks:
        batch = network.images[: network.batch_size]
        times = []
        with torch.no_grad():
            for _ in range(4):
                began = perf_counter()
                network.model(batch)
                times.append(perf_counter() - began)
        count = len(network.images)
        passed = 3.0 * ATTACK.steps * count + sum(each.passes(count) for each in explanations.values())
        seconds += passed * min(times) / len(batch) + BESIDE * len(explanations)
    several = "" if len(networks) == 1 else f" of {len(networks)} networks"
    return f"{len(explanations)} explanations{several} take about {max(1, round(seconds))} s"
