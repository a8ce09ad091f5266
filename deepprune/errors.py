"""Errors that a user can cause and mend; every other error is ours, and fails loudly."""

from __future__ import annotations


class UserError(Exception):
    """A mistake in a command, a configuration or an input.

    The message is one line that says what is wrong and what to do. The command line prints it
    without a traceback and exits with code 2.
    """
