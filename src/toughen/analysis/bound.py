"""How near is the measured robust risk to the bound that ARoW minimises?"""

import numpy as np

from toughen.analysis.explanation import Explained, Explanation, Insight, Picture, interval_text, mean_of, share_of
from toughen.analysis.measures.bound import robust_risk


class RiskBound(Explanation):
    """ARoW's upper bound of the robust risk, each term measured, beside the measured risk.

    `R_rob <= E 1[y != F(x)] + E 1[F(x) != F(z)] 1[p_f(z)_y < 1/2]`. ARoW replaces the second term by a weighted KL
    divergence and minimises it; TRADES' bound has the same without the last factor. Both sides are measured under the
    attack at hand: a stronger one raises both.
    """

    title = "Bound of the robust risk"
    source = "Yang, Kong, Kim 2023 (ARoW), theorem 1"

    def explain(self, explained: Explained) -> Insight | None:
        """The bound's terms, the risk, and the gap between them."""
        clean, perturbed = explained.logits()
        risk = robust_risk(clean, perturbed, explained.labels.cpu())
        trades = risk.clean + (clean.argmax(1) != perturbed.argmax(1)).float()
        figures = {
            "clean_risk": share_of(risk.clean.bool(), "misclassified clean: the first term", "low"),
            "unstable": share_of(risk.unstable.bool(), "changed and unsure of the truth: the second term", "low"),
            "bound": mean_of(risk.bound, "ARoW's bound", "low"),
            "trades_bound": mean_of(trades, "TRADES' bound", "low"),
            "robust_risk": share_of(risk.robust.bool(), "misclassified clean or under the attack", "low"),
            "gap": mean_of(risk.bound - risk.robust, "bound less risk", "low"),
        }
        sentence = (
            f"The robust risk under the attack is {interval_text(figures['robust_risk'])}, ARoW's bound of it "
            f"{interval_text(figures['bound'])}, TRADES' {interval_text(figures['trades_bound'])}."
        )
        names = ["clean_risk", "unstable", "bound", "trades_bound", "robust_risk"]
        grid = {
            "values": [[figures[name].value for name in names]],
            "rows": ["share"],
            "columns": names,
            "range": (0, 1),
        }
        sees = "The first two add up to the bound, which is at least the risk; the nearer, the tighter."
        arrays = {name: np.asarray(getattr(risk, name)).tolist() for name in ("clean", "unstable", "bound", "robust")}
        return Insight(sentence, figures, [Picture("grid", "Risk, bound and its terms", sees, grid)], arrays)
