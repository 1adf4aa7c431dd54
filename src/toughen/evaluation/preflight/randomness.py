"""A model that answers at random."""

from collections.abc import Iterator

from toughen.evaluation.preflight.context import PreflightContext
from toughen.evaluation.preflight.finding import Finding, PreflightCheck, share


def _find(context: PreflightContext) -> Iterator[Finding]:
    """Two passes over the same images that differ by more than rounding."""
    if not context.random:
        if context.eot > 1:
            yield Finding(
                "randomness",
                "note",
                f"two passes over {len(context)} images are equal: the model is not random, and eot={context.eot} only "
                "makes the evaluation slower",
                {"flipped": 0.0, "n": len(context), "eot": context.eot},
            )
        return
    flips = float((context.predicted(context.logits) != context.predicted(context.again)).float().mean())
    seen = f"the model is random: a second pass gives another class to {share(flips)} of {len(context)} images"
    figures = {"flipped": flips, "n": len(context), "eot": context.eot}
    if context.eot > 1:
        yield Finding(
            "randomness",
            "note",
            f"{seen}; attacks see the mean of {context.eot} passes (EOT), the verdict is one, and the figure compares "
            "with others of that kind",
            figures,
        )
    else:
        yield Finding(
            "randomness",
            "doubt",
            f"{seen}; each step of an attack sees one draw, so the robust accuracy is overestimated and not "
            "comparable: let attacks see the mean of many passes with eot=20 (--eot 20)",
            figures,
        )


CHECK = PreflightCheck(90, _find)
