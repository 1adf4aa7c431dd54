"""A model in train mode, and one that stays in it."""

from collections.abc import Iterator

from torch import nn

from toughen.evaluation.preflight.context import PreflightContext, differ
from toughen.evaluation.preflight.finding import Finding, PreflightCheck, share
from toughen.hardware.precision import at_least_fp32

_NAMED = 4


def _find(context: PreflightContext) -> Iterator[Finding]:
    """Flags as they were given, flags that `eval()` leaves on, and logits that change with the rest of the batch."""
    stubborn = [name or type(module).__name__ for name, module in context.model.named_modules() if module.training]
    if stubborn:
        yield Finding(
            "train_mode",
            "doubt",
            f"{len(stubborn)} of {context.given.modules} modules stay in train mode after eval() ({_some(stubborn)}): "
            "Dropout and BatchNorm then answer as in training, and the figure is not the deployed model's; remove what "
            "overrides train()",
            {"modules": len(stubborn)},
        )
    elif context.given.training:
        kinds = list(dict.fromkeys(context.given.training))
        yield Finding(
            "train_mode_given",
            "note",
            f"{len(context.given.training)} of {context.given.modules} modules were handed over in train mode "
            f"({_some(kinds)}); the model is evaluated in eval mode, and gets its flags back afterwards",
            {"modules": len(context.given.training)},
        )
    yield from _of_the_batch(context)


def _of_the_batch(context: PreflightContext) -> Iterator[Finding]:
    """An image's logits must not depend on the others in its batch."""
    size = min(len(context), context.batch_size)
    if size < 2 or context.random:
        return
    count = max(1, size // 2)
    company = context.images[:count]
    if size < 4:
        # Not alone: BatchNorm refuses a single image. The first one keeps itself company.
        company = context.images[:1].expand(size, -1, -1, -1).contiguous()
    whole, part = context.logits[:count], at_least_fp32(context.outputs(company))[:count]
    if not differ(whole, part, 1e-3 * context.spread):
        return
    flips = float((context.predicted(whole) != context.predicted(part)).float().mean())
    norms = [type(m).__name__ for m in context.model.modules() if isinstance(m, nn.modules.batchnorm._NormBase)]
    suspects = f" ({_some(list(dict.fromkeys(norms)))} without running statistics?)" if norms else ""
    yield Finding(
        "batch_dependence",
        "doubt",
        f"the logits of an image change with the rest of its batch: in other company, {share(flips)} of {count} "
        f"images get another class; a layer normalises by the batch{suspects}, and verdicts hold "
        "for these batches only; keep running statistics, and evaluate in eval mode",
        {"flipped": flips, "n": count},
    )


def _some(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")


CHECK = PreflightCheck(40, _find)
