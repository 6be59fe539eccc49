"""The one exception that the command line shows as a message instead of a traceback."""

import importlib
from types import ModuleType


class UserError(Exception):
    """A mistake the user can mend. The text says what is wrong (with file:line where there is one) and what to do."""


def first_line(error: BaseException | str, length: int = 200) -> str:
    """The first line of an error's message, cut to `length`; the name of its class where it has no message."""
    lines = str(error).strip().splitlines()
    return lines[0][:length] if lines else type(error).__name__ if isinstance(error, BaseException) else "no message"


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
