"""What can go wrong, each with a message that says: what was wrong, what came, what was expected, what to do next."""

from collections.abc import Iterable
from difflib import get_close_matches


class ToughenError(Exception):
    """Base of every error that is raised on purpose; the command line prints its message and exits with 2."""


class InputError(ToughenError, ValueError):
    """A setting, tensor or model that does not fit its contract."""


class DataError(ToughenError):
    """A data source that is missing, empty or damaged; the message names the file or folder."""


class RunError(ToughenError):
    """A run folder that exists, is incomplete, cannot be written or does not fit what is asked of it."""


class DivergedError(ToughenError):
    """A loss term that became NaN or infinite; the last good checkpoint is kept."""


class ToughenWarning(UserWarning):
    """Something that is allowed but probably not meant."""


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """End of an error message for an unknown name: the nearest known one, and all of them.

    >>> did_you_mean("TRADE", ["TRADES", "ARR"])
    "did you mean 'TRADES'? Known: ARR, TRADES"
    """
    names = sorted(known, key=str.lower)
    lowered = {name.lower(): name for name in names}
    near = get_close_matches(given.lower(), lowered, n=1, cutoff=0.5)
    hint = f"did you mean '{lowered[near[0]]}'? " if near else ""
    return f"{hint}Known: {', '.join(names)}"
