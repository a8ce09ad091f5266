"""Checks one after another: a line for each, and how many failed."""

from __future__ import annotations

import textwrap
from collections.abc import Callable

from rich.console import Console

from deepprune.errors import UserError

NAME_WIDTH = 22


class Checklist:
    """Runs checks and prints what each found, or what to do where it failed."""

    def __init__(self) -> None:
        self.num_checks = 0
        self.failed: list[str] = []
        self._console = Console(highlight=False, soft_wrap=True)

    def run(self, name: str, check: Callable[[], str | None]) -> bool:
        """Run one check; return whether it passed.

        Args:
            name: names it in its line.
            check: returns what it found, None where that cannot be known yet; raises UserError with
                what to do where it is wrong.
        """
        try:
            found = check()
        except UserError as error:
            self.num_checks += 1
            self.failed.append(name.strip())
            self._line("WRONG", name, str(error), "bold red")
            return False
        if found is None:
            self.skip(name, "not known before an engine runs")
        else:
            self.num_checks += 1
            self._line("ok", name, found, "green")
        return True

    def skip(self, name: str, reason: str) -> None:
        """Say why a check is not run."""
        self._line("-", name, reason, "dim")

    def _line(self, state: str, name: str, text: str, style: str) -> None:
        # A file gets one line for each check.
        room = self._console.width - NAME_WIDTH - 8 if self._console.is_terminal else len(text)
        first, *rest = textwrap.wrap(text, max(40, room)) or [""]
        self._console.print(f"{state:<6}", style=style, end="")
        self._console.print(f"{name:<{NAME_WIDTH}} {first}", markup=False)
        for line in rest:
            self._console.print(f"{'':<{NAME_WIDTH + 7}}{line}", markup=False)
