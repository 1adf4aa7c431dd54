"""The plots of the pages, one a file, as inline SVG."""

from toughen.reports.plots.attacks import attack_plot
from toughen.reports.plots.calibration import reliability_plot
from toughen.reports.plots.classes import class_plot
from toughen.reports.plots.cost import cost_plot
from toughen.reports.plots.curve import curve_plot
from toughen.reports.plots.importance import importance_plot
from toughen.reports.plots.lines import legend, line_plot
from toughen.reports.plots.norms import norm_plot
from toughen.reports.plots.runs import clean_robust_plot
from toughen.reports.plots.trials import trials_plot

__all__ = [
    "attack_plot",
    "class_plot",
    "clean_robust_plot",
    "cost_plot",
    "curve_plot",
    "importance_plot",
    "legend",
    "line_plot",
    "norm_plot",
    "reliability_plot",
    "trials_plot",
]
