"""The one exception that a user's mistake raises."""

from __future__ import annotations


class T2Error(Exception):
    """A mistake that the user can mend. The message is one line: what was expected, what came, what to do.

    The command line prints it without a traceback and exits with `EXIT_CODE`.
    """

    EXIT_CODE = 2
