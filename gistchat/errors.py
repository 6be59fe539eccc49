"""The one exception that the command line shows as a message instead of a traceback."""

import importlib
from types import ModuleType


class UserError(Exception):
    """A mistake the user can mend. The text says what is wrong (with file:line where there is one) and what to do."""


def require(module: str, extra: str) -> ModuleType:
    """Import an optional dependency, or say which extra brings it.

    Raises:
        UserError: the module is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.split(".")[0]:
            raise
        raise UserError(f"{module} is not installed: pip install 'gistchat[{extra}]'") from None
