"""What an analysis needs: settings in their range, and libraries that are extras of this package."""

import importlib
from types import ModuleType

from toughen.errors import ToughenError
from toughen.numbers import check_number


def at_least(least: float, **settings: float) -> None:
    """Raise unless every setting is a whole number as large as that.

    Raises:
        InputError: naming the first that is not.

    >>> at_least(1, images=0)
    Traceback (most recent call last):
        ...
    toughen.errors.InputError: images: expected at least 1, got 0
    """
    for name, value in settings.items():
        check_number(name, value, least=least, whole=True)


def library(module: str, extra: str) -> ModuleType:
    """A library that only some analyses need, imported.

    Raises:
        ToughenError: it is not installed, or cannot be imported; the message has the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ToughenError(
            f"--analyses: {module} cannot be imported ({error}); install it with pip install 'toughen[{extra}]'"
        ) from error
