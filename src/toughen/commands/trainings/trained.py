"""What a training gives back."""

from dataclasses import dataclass
from html import escape

from torch import nn

from toughen.evaluation import Evaluation
from toughen.reports.text import bounds, percent
from toughen.run import RunFolder


@dataclass(frozen=True)
class Trained:
    """What `train` gives back.

    Attributes:
        folder: the run's folder.
        model: the trained network with the reported weights, in eval mode.
        evaluation: its evaluation on test images; None where the budget was "none".
    """

    folder: RunFolder
    model: nn.Module
    evaluation: Evaluation | None

    def __repr__(self) -> str:
        return f"Trained({', '.join(f'{name}: {value}' for name, value in self._summary().items())})"

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><th>{name}</th><td>{escape(value)}</td></tr>" for name, value in self._summary().items())
        return f"<table>{rows}</table>"

    def _summary(self) -> dict[str, str]:
        summary = {"run": str(self.folder.path)}
        if self.evaluation is not None:
            clean, robust = self.evaluation.result["figures"]["clean"], self.evaluation.result["robust_accuracy"]
            for name, figure in (("clean accuracy", clean), ("robust accuracy", robust)):
                summary[name] = f"{percent(figure['accuracy'])} ({bounds(figure['interval'])})"
            summary["report"] = str(self.folder.report)
        return summary
