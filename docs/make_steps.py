"""Write docs/steps.md: how closely three whole training steps of every method agree with those of its authors' code.

Run by `make docs`, after a change to a method, to AWP, to an average or to the update of the weights.
"""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "methods"))

from steps import NAMES, STEPS, differences  # noqa: E402

COLUMNS = ("adversarial", "terms", "gradients", "weights", "statistics")
ARAT = "the random start is in the clean batch too: setting `noise_in_place`"
WHY = {
    "ar-at-as-is": f"code as it is; {ARAT}",
    "ar-at": "the code with a copy of the batch in the attack, as in the paper and by default here",
    "arow-ce": "no 1e-12 inside the logarithm",
    "arow-kl": "no 1e-12 inside the logarithm",
    "cow": "no 1e-12 inside the logarithm",
    "d2r-cag": "setting `log_offset=1e-5`",
    "fgsm-pgi": "setting `attack.mode=train`; the default attacks in eval mode",
    "fgsm-pgk": "setting `attack.mode=train`; with `average=SuccessEMA`, early and late in a run",
    "fgsm-rs": "setting `attack.mode=train`",
    "dajat": "two further views; without AWP",
    "dajat-awp": "two further views, with AWP: `awp.decay_moved=true`",
    "e-at": "the code's count of changed pixels without what rounding leaves; which norm is drawn is given",
    "fgsm-uap": "code with g kept as in the paper and without its casts to fp32: setting `attack.mode=train`",
    "free-at": "code for ImageNet; the first batch twice, then the next",
    "gairat": "in an epoch with weights",
    "gat": "setting `clean_passes=2`; the attack's two kinds of step in turn",
    "grad-align": "code without its half precision",
    "ikl-awp": "code for CIFAR-10, with AWP: `awp.decay_moved=true`",
    "ikl-cifar100": "code for CIFAR-100: setting `inner=ikl`",
    "liet": "setting `attack.mode=train`; random soft labels are given",
    "mart": "no 1e-12 inside the logarithms, no 1e-7 in the weight",
    "n-fgsm": "setting `attack.mode=train`",
    "nuat": "setting `clean_passes=2`; the attack's two kinds of step in turn",
    "oa-at-awp": "in the first quarter; `clean_passes=2, attack.mode=train`, and `awp.decay_moved=true`",
    "oa-at-awp-turns": "the same in the last quarter: a step of the first kind, of the second, of the first",
    "score": "`without_DDPM`: the default here",
    "score-extra": "with generated images: settings `attack.mode=train, clip_of=regularizer, adversarial_first=false`",
    "trades": "three passes in train mode: setting `clean_passes=2`",
    "trades-awp": "`clean_passes=2, adversarial_first=true`, and `awp.decay_moved=true`",
    "trades-awp-two-passes-restored-first": "the default here: two passes, weight decay on w",
    "trades-two-passes": "the default here: two passes",
}
PAGE = """# Whole training steps against the authors' code

`tests/reference/steps/` holds, for every file below, what three optimiser steps of the published code give in float64
on a tiny network: adversarial images, loss terms, gradients, weights, BatchNorm statistics. This table has the largest
absolute differences of ours over the three steps, by the plain path (`--fast false`), guides, predictors, memories and
averages included. `tests/methods/test_steps.py` holds them below 1e-12 (1e-8 where the code's small constants are
missing here). Made by `python docs/make_steps.py`.

| file | code | adversarial images | terms | gradients | weights | statistics | settings, and what differs |
|---|---|---|---|---|---|---|---|
{rows}

What the files do not show:

- Attacks' starts are clamped to [0, 1] here; most published code clamps after a step only. Images of the files are
  so far from 0 and 1 that it makes no difference there.
- FGSM-PGI's and PGK's memories are fp16 here, fp32 in the code: a perturbation of 8/255 is rounded by up to 0.004/255.
- AR-AT's symmetric and opposite ablations place stop-gradient and predictor otherwise in its code.
- LBGAT's and D2R's guide is `ResNet18(strides=(1, 1, 2, 2))` in their code, FGSM-PGK's Tiny ImageNet network
  `PreActResNet18(final_norm=False, pooled=2)`; most authors do not normalise inputs: `--normalize false`.
- MeanSparse changes a trained network; `tests/models/test_mean_sparsity.py` holds its outputs and gradients.
- LTD's training code is not public: its formula is held by plain loops, its settings by nothing.
- RegMix' code (lusti-Yu/Regmix on GitHub) could not be compared.
- Not here: FGSM-UAP's form with 50 perturbations picked by features (its code trains the picker by Adam), and NuAT's
  two-step and hybrid forms.
- VAT, ALP, PGD-AT, ARR and Standard have no file: they are held by values of single terms in their own tests.
"""


def row(name: str) -> str:
    """A file's line of the table."""
    source = json.loads((STEPS / f"{name}.json").read_text())["source"]
    found = differences(name)
    code = f"[{source['commit'][:7]}](https://{source['repository']}/tree/{source['commit']})"
    figures = [f"{found[column]:.0e}" if found[column] else "0" for column in COLUMNS]
    return f"| {name} | {code} | {' | '.join(figures)} | {WHY.get(name, 'none')} |"


if __name__ == "__main__":
    page = ROOT / "docs" / "steps.md"
    page.write_text(PAGE.format(rows="\n".join(map(row, NAMES))))
    print(page)
