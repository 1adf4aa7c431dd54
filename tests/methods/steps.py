"""Our training steps on the inputs of the authors' whole steps, `tests/reference/steps`."""

import json
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from itertools import chain, repeat
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from safetensors.torch import load_file
from torch import Tensor, nn

from toughen.attacks import FGSM, PGD, AdaptivePGD, GradientAttack
from toughen.batch import Batch
from toughen.methods import (
    ARAT,
    D2R,
    DAJAT,
    EAT,
    FGSMPGI,
    FGSMPGK,
    FGSMRS,
    FGSMUAP,
    GAIRAT,
    GAT,
    HAT,
    IKL,
    LBGAT,
    LIET,
    MART,
    NFGSM,
    OAAT,
    SCORE,
    TRADES,
    ARoW,
    FreeAT,
    GradAlign,
    Method,
    NuAT,
    Perturbed,
    Terms,
)
from toughen.methods.method import total
from toughen.threat import ThreatModel
from toughen.training import AWP, SGD, Constant, Settings, SuccessEMA
from toughen.training.updates import Updates

STEPS = Path(__file__).parents[1] / "reference" / "steps"
NAMES = sorted(path.stem for path in STEPS.glob("*.json"))


class Tiny(nn.Module):
    """The network of the reference values."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = nn.Conv2d(4, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu())).relu()
        return self.fc(x.mean((2, 3)))


def inner(settings: dict[str, Any], kind: type[GradientAttack] = GradientAttack, **more: Any) -> GradientAttack:
    attack = settings["attack"]
    return kind(steps=attack["steps"], step_size=attack["step_size"], **more)


def pick(settings: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: settings[name] for name in names}


MAKERS: dict[str, Callable[[dict[str, Any]], Method]] = {
    "trades": lambda s: TRADES(
        beta=s["beta"],
        clean_passes=s["batch_norm_order"].count("clean"),
        adversarial_first=s["batch_norm_order"][0] == "adversarial",
        attack=inner(s),
    ),
    "mart": lambda s: MART(lam=s["lam"], attack=inner(s, PGD)),
    "hat": lambda s: HAT(**pick(s, "beta", "gamma", "h"), attack=inner(s)),
    "lbgat": lambda s: LBGAT(beta=s["beta"], attack=inner(s)),
    "arow": lambda s: ARoW(**pick(s, "lam", "smoothing", "inner"), weight="arow", attack=inner(s)),
    "cow": lambda s: ARoW(**pick(s, "lam", "smoothing", "inner"), weight="cow", attack=inner(s)),
    "d2r": lambda s: D2R(log_offset=s["log_offset"], attack=inner(s)),
    "ar-at": lambda s: ARAT(
        gamma=s["gamma"],
        layers=s["layers"],
        balance=s["a"],
        noise_in_place=s["as_published"],
        attack=inner(s, PGD, mode="train"),
    ),
    "ikl": lambda s: IKL(**pick(s, "alpha", "beta", "temperature", "inner"), attack=inner(s)),
    "score": lambda s: SCORE(
        **pick(s, "beta", "clip", "clip_of", "adversarial_first"), attack=inner(s, mode=s["attack"]["mode"])
    ),
    "gairat": lambda s: GAIRAT(**pick(s, "lam", "begin"), attack=inner(s)),
    "dajat": lambda s: DAJAT(**pick(s, "beta", "views", "js"), attack=inner(s)),
    "e-at": lambda s: EAT([ThreatModel(**each) for each in s["others"]], AdaptivePGD(s["attack"]["steps"])),
    "oa-at": lambda s: OAAT(
        **pick(s, "beta", "beta_final", "mixing", "wide", "lpips", "layers"),
        clean_passes=2,
        attack=inner(s, PGD, mode="train"),
    ),
    "fgsm-rs": lambda s: FGSMRS(attack=FGSM(step_size=s["attack"]["step_size"], start="uniform", mode="train")),
    "n-fgsm": lambda s: NFGSM(k=s["k"], attack=FGSM(step_size=s["attack"]["step_size"], mode="train")),
    "nuat": lambda s: NuAT(lam=s["lam"], clean_passes=2, attack=inner(s, start="clean")),
    "gat": lambda s: GAT(lam=s["lam"], clean_passes=2, attack=inner(s, start="clean")),
    "liet": lambda s: LIET(**pick(s, "lam", "smoothing", "every"), attack=inner(s, start="clean", mode="train")),
    "fgsm-uap": lambda s: FGSMUAP(
        **pick(s, "lam", "momentum", "reach", "shared"), attack=inner(s, start="clean", mode="train")
    ),
    "free-at": lambda s: FreeAT(s["replays"], step_size=s["step_size"]),
    "grad-align": lambda s: GradAlign(lam=s["lam"], attack=inner(s, start="clean", mode="train")),
    "fgsm-pgi": lambda s: FGSMPGI(**pick(s, "lam", "factor", "momentum"), attack=inner(s, mode="train")),
    "fgsm-pgk": lambda s: FGSMPGK(**pick(s, "lam", "factor", "momentum"), attack=inner(s, mode="train")),
}


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def differences(name: str, joins: bool = False) -> dict[str, float]:
    """The largest absolute differences of our three steps from a file's, by kind of value.

    Args:
        name: the file.
        joins: whether the passes for a loss are one.
    """
    settings = json.loads((STEPS / f"{name}.json").read_text())
    reference = load_file(STEPS / f"{name}.safetensors")
    kind = max((maker for maker in MAKERS if name.startswith(maker)), key=len)
    method = MAKERS[kind](settings).under(ThreatModel(settings["norm"], settings["eps"]))
    model = Tiny(settings["classes"]).double()
    initial = part(reference, "initial.")
    if "data.images" in reference:
        images = reference["data.images"]
        method.allocate_memory(len(images), tuple(images.shape[1:]))
        for memory in ("perturbation", "velocity"):
            setattr(method, memory, initial[memory].clone())
        method.known.fill_(True)
    if isinstance(method, HAT):
        method.helper = Tiny(settings["classes"]).double().requires_grad_(False).eval()
        method.helper.load_state_dict(part(initial, "helper."))
    else:
        model = method.prepare(model)
    second = {"guide": getattr(method, "guide_network", None), "average": getattr(method, "average", None)}
    second["predictor"] = method.predictors[0] if isinstance(method, ARAT) else None
    second = {key: module for key, module in second.items() if module is not None}
    for key, module in second.items():
        module.load_state_dict(part(initial, f"{key}."))
    model.load_state_dict({key: initial[key] for key in model.state_dict()})
    method.double()
    if "epoch" in settings:
        method.epochs = settings["epochs"]
        method.begin_epoch(model, settings["epoch"] - 1, Batch(reference["step1.images"], reference["step1.labels"]))
    for key, value in part(initial, "method.").items():
        setattr(method, key, value.clone())
    if isinstance(method, ARAT):
        method.a.fill_(settings["a"])  # the buffer was made in fp32
    sgd = {key: settings["sgd"][key] for key in ("lr", "momentum", "weight_decay", "nesterov")}
    average = SuccessEMA(**pick(settings["average"], "decay", "threshold")) if "average" in settings else None
    asked = Settings(
        epochs=1, optimizer=partial(SGD, **sgd), decay_all=True, layer_decay=None, schedule=Constant(), average=average,
        awp=AWP(settings["gamma"], 1, decay_moved=settings["as_published"]) if "awp" in name else None,
        clip_grad_norm=None, accumulate=1, select="last", log_every=1, checkpoint_every=None, attack_steps=None,
        image_size=None, fast=False, compile=False, channels_last=False,
    )  # fmt: skip
    updates = Updates(model, method, asked, Accelerator(cpu=True), reference["step1.images"][:2], 3)
    updates.joined = model if joins else None
    late = None if average is None else average.build(model)
    if late is not None:
        late.n_averaged.fill_(settings["average"]["late_steps"])
    found: dict[str, float] = defaultdict(float)

    def compare(what: str, ours: Tensor, theirs: Tensor) -> None:
        found[what] = max(found[what], (ours.detach().double() - theirs.double()).abs().max().item())

    def compare_states(module: nn.Module, prefix: str) -> None:
        theirs = part(reference, prefix)
        for key, value in module.state_dict().items():
            if key in theirs:
                compare("statistics" if "running_" in key or "tracked" in key else "weights", value, theirs[key])

    for number in range(1, settings["steps"] + 1):
        step = part(reference, f"step{number}.")
        watch(method, step, compare)
        watch_gradients(updates, model, second, step, compare)
        batch = Batch(step["images"], step["labels"], step.get("indices"), views=views_of(step, "images"))
        updates.take(batch, 0, number - 1, last=number == settings["steps"])
        compare_states(model, f"step{number}.after.")
        for key, module in second.items():
            compare_states(module, f"step{number}.{key}.after.")
        for key, value in part(step, "method.").items():
            compare("memory", getattr(method, key), value)
        for memory in ("perturbation", "velocity"):
            if memory in step:
                ours, theirs = getattr(method, memory), step[memory]
                scale = theirs.abs().mean() / ours.abs().mean() if memory == "velocity" else 1.0
                compare("memory", ours * scale / theirs.abs().max(), theirs / theirs.abs().max())
        if updates.averaged is not None:
            compare_states(updates.averaged.module, f"step{number}.average.")
        if late is not None and average is not None:
            average.update(late, model, method)
            compare_states(late.module, f"step{number}.average_late.")
            compare("terms", method.attack_failure_rate(), step["share_held"])
    return dict(found)


def views_of(step: dict[str, Tensor], what: str) -> tuple[Tensor, ...]:
    """Of the further views of a step's images, in order."""
    return tuple(step[name] for name in sorted(step) if name.startswith("view") and name.endswith(f".{what}"))


def watch(method: Method, step: dict[str, Tensor], compare: Callable[[str, Tensor, Tensor], None]) -> None:
    """Give the method the stored start, and compare what its two halves give."""
    cls = type(method)

    def perturb(model: nn.Module, batch: Batch) -> Perturbed:
        attack = getattr(method, "attack", GradientAttack())
        starts = chain([step.get("start"), *views_of(step, "start")], repeat(step.get("start")))
        attack.initial = lambda images, threat, generator=None: next(starts)
        if hasattr(method, "noisy"):
            method.noisy = lambda images: step["start"]
        if isinstance(method, EAT):
            method.draw = lambda: int(step["norm"])
        if isinstance(method, LIET):  # of the grey images where they are due, for the attack, and for the loss
            drawn = iter(part(step, "drawn.").values())
            method.softened = lambda target, classes: next(drawn)
        if isinstance(method, NFGSM):
            attack.initial = lambda images, threat, generator=None: images
        perturbed = cls.perturb(method, model, batch)
        compare("adversarial", perturbed.images, step["adversarial"])
        for view, theirs in zip(perturbed.views, views_of(step, "adversarial"), strict=True):
            compare("adversarial", view, theirs)
        if "far" in step:
            compare("adversarial", perturbed.far, step["far"])
        if perturbed.initial is not None:
            compare("adversarial", perturbed.initial, step["start"])
        return perturbed._replace(noisy=step.get("noisy"))

    def terms(model: nn.Module, batch: Batch, perturbed: Perturbed) -> Terms:
        found = cls.terms(method, model, batch, perturbed)
        method.last_terms = {name: term.values.detach().mean() for name, term in found.items()}
        method.last_total = total(found).detach()
        return found

    method.perturb, method.terms = perturb, terms


def watch_gradients(
    updates: Updates,
    model: nn.Module,
    second: dict[str, nn.Module],
    step: dict[str, Tensor],
    compare: Callable[[str, Tensor, Tensor], None],
) -> None:
    """Compare terms and gradients where the optimiser is about to use them."""
    method, update = updates.method, type(updates)._update

    def compared(*args: Any) -> None:
        for name, value in part(step, "term.").items():
            compare("terms", method.last_terms[name], value)
        compare("terms", method.last_total, step["total"])
        for prefix, module in (("gradient.", model), *((f"{key}.gradient.", each) for key, each in second.items())):
            for name, gradient in part(step, prefix).items():
                compare("gradients", module.get_parameter(name).grad, gradient)
        update(updates, *args)

    updates._update = compared
