"""A report's verdict: what its figures say, in one sentence."""

from toughen.evaluation.checks.doubts import reasons
from toughen.reports.change import changes_of
from toughen.reports.run_data import RunData
from toughen.reports.text import percent


def verdict_of(run: RunData) -> str:
    """What the figures of an evaluated run say; the worse end of an interval decides where it matters."""
    robust, clean = run.result["robust_accuracy"], run.result["figures"]["clean"]
    doubts = reasons(run.result)
    if doubts:
        return (
            f"Do not rely on the {percent(robust['accuracy'])} under attack: the attacks may have been blind "
            f"({doubts[0]['title']}: failed)."
        )
    classes = len(run.result["data"].get("classes") or [])
    if classes and robust["interval"][0] <= 1 / classes:
        return (
            f"Not shown to withstand these attacks better than guessing does: {percent(robust['accuracy'])} are right "
            f"under them, and guessing gets {percent(1 / classes)}."
        )
    changes = changes_of(run)
    if not changes:
        return (
            f"Of 100 images like these, about {100 * robust['accuracy']:.0f} stay right under attack, and about "
            f"{100 * clean['accuracy']:.0f} are right without one."
        )
    attacked, usual = changes["robust"], changes["clean"]
    before, after = percent(attacked.before["accuracy"]), percent(attacked.after["accuracy"])
    if attacked.shown:
        what = "raised" if attacked.difference > 0 else "lowered"
        first = f"Training {what} the share of images that are right under attack from {before} to {after}"
    else:
        first = f"These images show no change by training under attack ({before} before, {after} after)"
    if not usual.shown:
        return f"{first}; a change without attack is not shown ({percent(usual.after['accuracy'])} are right)."
    kind = "cost" if usual.difference < 0 else "gained"
    points = f"{100 * abs(usual.difference):.1f} points"
    return f"{first}, and {kind} {points} without attack ({percent(usual.after['accuracy'])} are right)."
