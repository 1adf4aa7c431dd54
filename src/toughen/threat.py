"""What the attacker may do. The only place that branches on a norm."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from toughen.errors import InputError, did_you_mean
from toughen.hardware.precision import at_least_fp32
from toughen.l1_ball import nearest_in_l1_and_box, per_image
from toughen.numbers import Number, as_float, as_text

Norm = Literal["linf", "l2", "l1"]


@dataclass(frozen=True)
class _Facts:
    """What sets a norm apart, besides its projection, its random start and its steepest direction."""

    order: float
    customary: float
    """RobustBench's radius for CIFAR-10."""
    smallest: float
    """The smallest radius that is likely meant: a quarter of an 8-bit step; l2 and l1 add up over an image."""
    meaning: str


_FACTS: dict[str, _Facts] = {
    "linf": _Facts(math.inf, 8 / 255, 0.25 / 255, "every pixel value (0 to 1) may change by at most {}"),
    "l2": _Facts(2.0, 0.5, 16 / 255, "the change of an image may have a Euclidean length of at most {}"),
    "l1": _Facts(1.0, 12.0, 16 / 255, "the changes of an image's pixel values may add up to at most {}"),
}
_BELOW_1 = math.nextafter(1.0, 0.0)  # the largest l-inf radius; rounded to fp32 it is 1


@dataclass(frozen=True)
class ThreatModel:
    """The set of images that an attacker may show instead of `x`: all `x'` in [0, 1] with `||x' - x|| <= eps`.

    The norm is taken per image, over all its channels and pixels. Images are N x C x H x W in [0, 1]; every
    method returns a tensor of the same shape, dtype and device.

    Args:
        norm: linf (largest change of a pixel), l2 (Euclidean) or l1 (sum of absolute changes).
        eps: radius of the ball, in units of the [0, 1] image; a fraction such as 8/255 may be written as text. Default:
            RobustBench's radius for CIFAR-10: 8/255 for linf, 0.5 for l2, 12 for l1.

    Raises:
        InputError: unknown norm; eps not positive, or an l-inf eps over 1 (which looks like 0..255 units).

    >>> ThreatModel("linf", "8/255")
    ThreatModel(linf, 8/255)
    >>> threat = ThreatModel("l2", 0.5)
    >>> x = torch.full((1, 1, 2, 2), 0.5)
    >>> threat.norm_of(threat.project(x + 0.4, x) - x)
    tensor([0.5000])
    """

    norm: Norm = "linf"
    eps: Number | None = None

    def __post_init__(self) -> None:
        norm = str(self.norm).lower()
        if norm not in get_args(Norm):
            raise InputError(f"threat.norm: expected one of {', '.join(get_args(Norm))}, got {self.norm!r}")
        eps = as_float(_FACTS[norm].customary if self.eps is None else self.eps, "threat.eps")
        if eps <= 0:
            raise InputError(f"threat.eps: expected a positive radius, got {self.eps!r}")
        if _FACTS[norm].order == math.inf and eps >= 1:
            raise InputError(
                f"threat.eps: expected an l-inf radius below 1 (images lie in [0, 1]), got {self.eps!r}; "
                f"did you mean {eps:g}/255?"
            )
        object.__setattr__(self, "norm", norm)
        object.__setattr__(self, "eps", eps)

    def __repr__(self) -> str:
        return f"ThreatModel({self.norm}, {as_text(self.radius)})"

    def __str__(self) -> str:
        return f"{self.norm} {as_text(self.radius)}"

    @property
    def radius(self) -> float:
        """`eps` as a float, whatever way it was written."""
        return as_float(self.eps or 0, "threat.eps")

    @property
    def bounds_each_pixel(self) -> bool:
        """Whether the radius is how far every pixel may go by itself, as in l-inf."""
        return self._facts.order == math.inf

    @property
    def smallest_likely(self) -> float:
        """The radius below which eps is probably in other units, such as 0..255."""
        return self._facts.smallest

    @property
    def library_norm(self) -> str:
        """What pyautoattack calls the norm.

        >>> ThreatModel("linf").library_norm, ThreatModel("l2").library_norm
        ('Linf', 'L2')
        """
        return self.norm.capitalize()

    def sentence(self) -> str:
        """What the attacker may do, for a reader who does not know the norms.

        >>> ThreatModel("linf", 8 / 255).sentence()
        'every pixel value (0 to 1) may change by at most 8/255'
        """
        return self._facts.meaning.format(as_text(self.radius))

    @property
    def _facts(self) -> _Facts:
        return _FACTS[self.norm]

    def _ones(self, images: Tensor) -> float:
        """The norm of an image of ones, of the shape of these."""
        return float(max(1, math.prod(images.shape[1:])) ** (1 / self._facts.order))

    def scaled(self, factor: float) -> "ThreatModel":
        """The same norm with another radius; an l-inf radius stays below 1.

        >>> ThreatModel("l2", 0.5).scaled(2)
        ThreatModel(l2, 1)
        """
        radius = factor * self.radius
        return ThreatModel(self.norm, min(radius, _BELOW_1) if self.bounds_each_pixel else radius)

    def unbounded(self, images: Tensor) -> "ThreatModel":
        """The same norm with a radius that reaches every image in [0, 1] from every other one of this shape."""
        return ThreatModel(self.norm, _BELOW_1 if self.bounds_each_pixel else self._ones(images))

    def norm_of(self, delta: Tensor) -> Tensor:
        """Size of each perturbation, shape (N,), in fp32 or better."""
        return torch.linalg.vector_norm(at_least_fp32(delta).flatten(1), ord=self._facts.order, dim=1)

    def slack(self, images: Tensor) -> float:
        """How far rounding `x + delta` to the images' dtype may push a perturbation out of the ball."""
        return torch.finfo(images.dtype).eps * self._ones(images)

    def project(self, images: Tensor, center: Tensor) -> Tensor:
        """Bring `images` back into the ball around `center` and into [0, 1].

        l-inf and l1 give the nearest point of the intersection of ball and box. l2 scales to the ball and then
        clips to [0, 1], as is usual in this field; the result lies in both. Points already inside stay as they are.
        """
        x, given = at_least_fp32(center), at_least_fp32(images)
        delta = given - x
        limit = self.radius + self.slack(center)
        if self.norm == "linf":
            allowed = delta.clamp(-self.radius, self.radius)
        elif self.norm == "l2":
            size = per_image(self.norm_of(delta), delta)
            allowed = torch.where(size > limit, delta * (self.radius / size.clamp_min(1e-30)), delta)
        else:
            allowed = nearest_in_l1_and_box(delta, x, self.radius, limit)
        # x + (given - x) may differ from given in the last digit.
        return torch.where(allowed == delta, given, x + allowed).clamp(0, 1).to(center.dtype)

    def random_start(self, center: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """A point drawn uniformly from the ball around `center`, then clipped to [0, 1]."""
        x = at_least_fp32(center)
        if self.norm == "linf":
            noise = empty_contiguous_like(x).uniform_(-1, 1, generator=generator)
            return self.project((x + self.radius * noise).to(center.dtype), center)
        # Uniform in an lp ball: a direction from the density exp(-|t|^p), and the radius' D-th root law.
        direction = empty_contiguous_like(x).normal_(generator=generator)
        if self.norm == "l1":
            magnitude = empty_contiguous_like(x).exponential_(generator=generator)
            direction = magnitude * direction.sign()
        share = torch.rand(len(x), device=x.device, dtype=x.dtype, generator=generator)
        share = share ** (1 / max(1, x[0].numel() if len(x) else 1))
        scale = per_image(share * self.radius / self.norm_of(direction).clamp_min(1e-30), x)
        return self.project((x + direction * scale).to(center.dtype), center)

    def steepest(self, gradient: Tensor, images: Tensor) -> Tensor:
        """The direction of norm 1 along which a linear function with this gradient grows most.

        l-inf: the sign; l2: the normalised gradient; l1: the gradient on the 5 % of pixels (at least 32) where it is
        largest. A single pixel would be l1's steepest step, but takes thousands of them (Tramer & Boneh 2019); with
        steps in proportion to the gradient, projected ascent still ends at a linear function's optimum. A zero
        gradient gives a zero step; pixels whose gradient is no number count as 0, in l2 and l1 infinite ones too.
        """
        g = at_least_fp32(gradient)
        if self.norm == "linf":
            return g.sign().to(images.dtype)  # the sign of NaN is 0
        g = g.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
        if self.norm == "l1":
            magnitude = g.abs().flatten(1)
            pixels = magnitude.shape[1]
            count = min(pixels, max(32, pixels // 20))
            smallest = magnitude.topk(count, dim=1).values[:, -1:]
            g = g * (magnitude >= smallest).view_as(g)
        # Scaled by the largest entry first: a tiny gradient's square would underflow.
        g = g / per_image(g.abs().flatten(1).amax(1).clamp_min(torch.finfo(g.dtype).tiny), g)
        return (g / per_image(self.norm_of(g), g).clamp_min(1e-12)).to(images.dtype)

    def contains(self, images: Tensor, center: Tensor) -> Tensor:
        """Whether each image lies in the ball around its centre and in [0, 1], up to rounding; shape (N,).

        Raises:
            InputError: another shape, which would be broadcast.
        """
        if images.shape != center.shape:
            raise InputError(
                f"images: expected the shape of those that they come from, {tuple(center.shape)}, got "
                f"{tuple(images.shape)}"
            )
        in_ball = self.norm_of(at_least_fp32(images) - at_least_fp32(center)) <= self.radius + self.slack(center)
        flat = images.flatten(1)
        return in_ball & ((flat >= 0) & (flat <= 1)).all(dim=1)

    def check(self, images: Tensor, center: Tensor) -> None:
        """Raise unless every image is allowed.

        Raises:
            InputError: with the number of images outside and the worst distance.
        """
        inside = self.contains(images, center)
        if not bool(inside.all()):
            worst = self.norm_of(at_least_fp32(images) - at_least_fp32(center)).max().item()
            raise InputError(
                f"{int((~inside).sum())} of {len(images)} images leave the threat model {self}: largest distance "
                f"{worst:.6g}, values in [{images.min().item():.4g}, {images.max().item():.4g}]"
            )


def described_threat(described: Mapping[str, Any]) -> ThreatModel:
    """The threat model that a file describes, as config.yaml and result.json do.

    Raises:
        InputError: a setting that threat models have not, or a value that they cannot have.
    """
    for name in described:
        if name not in ("norm", "eps"):
            raise InputError(f"threat.{name}: unknown setting; {did_you_mean(name, ('norm', 'eps'))}")
    return ThreatModel(**described)


def as_threat(threat: ThreatModel | None = None, eps: Number | None = None, norm: Norm | None = None) -> ThreatModel:
    """The threat model of a call that takes a `ThreatModel`, or `eps` and `norm` (linf where it is left out).

    Raises:
        InputError: `threat` is something else, or is given together with `eps` or `norm`.

    >>> as_threat(eps="8/255")
    ThreatModel(linf, 8/255)
    """
    if threat is None:
        return ThreatModel("linf" if norm is None else norm, eps)
    if not isinstance(threat, ThreatModel):
        raise InputError(
            f'threat: expected a ThreatModel, got {type(threat).__name__} {threat!r}; write ThreatModel("linf", '
            f'"8/255"), or norm="linf" and eps="8/255" by name'
        )
    if eps is not None or norm is not None:
        raise InputError(
            f"threat: expected a ThreatModel alone, or eps and norm, got {threat!r} with norm={norm!r}, eps={eps!r}; "
            f"leave one of the two out"
        )
    return threat


def empty_contiguous_like(like: Tensor) -> Tensor:
    """Uninitialised tensor of this shape, dtype and device, contiguous whatever the layout of `like`, to draw into.

    Numbers are drawn in the order of memory: in another layout the same seed would give every pixel another one.
    """
    return torch.empty_like(like, memory_format=torch.contiguous_format)
