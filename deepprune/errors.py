"""Errors that a user can cause and mend; every other error is ours, and fails loudly."""

from __future__ import annotations


def reason(error: BaseException, limit: int = 160) -> str:
    """The message of an error on one line, at most `limit` characters."""
    return " ".join(str(error).split())[:limit]


class UserError(Exception):
    """A mistake in a command, a configuration or an input.

    The message is one line that says what is wrong and what to do. The command line prints it
    without a traceback and exits with code 2.
    """
