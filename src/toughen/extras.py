"""Libraries that only some uses need."""

import importlib
from types import ModuleType

from toughen.errors import ToughenError


def library(module: str, extra: str) -> ModuleType:
    """Import a library that only some uses need, and that an extra of this package installs.

    Raises:
        ToughenError: it is not installed, or cannot be imported; the message has the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ToughenError(
            f"{module} cannot be imported ({error}); install it with pip install 'toughen[{extra}]'"
        ) from error
