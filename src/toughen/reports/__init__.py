"""Results in; terminal tables, plots and self-contained HTML pages out. Names are loaded when used."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from toughen.reports.comparison import Comparison
    from toughen.reports.page import write_report
    from toughen.reports.terminal import show_result
    from toughen.reports.terminal_comparison import show_comparison

_HOME = {
    "Comparison": "comparison",
    "show_comparison": "terminal_comparison",
    "show_result": "terminal",
    "write_report": "page",
}

__all__ = ["Comparison", "show_comparison", "show_result", "write_report"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"toughen.reports.{_HOME[name]}"), name)
    raise AttributeError(f"module 'toughen.reports' has no attribute {name!r}")
