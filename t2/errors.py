"""The one exception that a user's mistake raises, and how it quotes the user."""

from __future__ import annotations


class T2Error(Exception):
    """A mistake that the user can mend. The message is one line: what was expected, what came, what to do.

    The command line prints it without a traceback and exits with `EXIT_CODE`.
    """

    EXIT_CODE = 2


def quoted(text: str, most: int = 60) -> str:
    """A user's text in a message: quoted, on one line, and cut, since an id or an answer may be megabytes long."""
    whole = repr(text[: most + 1])
    return whole if len(whole) <= most + 2 else f"{whole[:most]}..."


def in_a_line(error: BaseException, most: int = 300) -> str:
    """An error of another library on one line: its kind and the beginning of what it says."""
    said = " ".join(str(error).split())
    return f"{type(error).__name__}{f': {said[:most]}' if said else ''}{'...' if len(said) > most else ''}"
