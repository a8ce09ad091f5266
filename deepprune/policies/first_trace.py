"""Run a policy only where traces give answers that can be compared.

Of a poem, a chat or code there is nothing to vote on: one trace is as good as 64.
"""

from __future__ import annotations

from collections.abc import Callable

from deepprune.events import (
    Cancel,
    Command,
    Continue,
    Decision,
    Event,
    Failed,
    Finished,
    Launch,
    PrefixReady,
    Stop,
)
from deepprune.policies.base import Policy

ENOUGH = 2
"""Traces that end without an answer, and none with one, after which no more are waited for."""


class FirstTrace:
    """Stops a policy whose traces end without an answer.

    With `ask_first`, the policy's first trace runs alone. If it ends without an answer it is the
    response; else the policy goes on, and hears of that trace as if it had run among the others. A
    trace that its token budget cut (`is_cut`) shows nothing: it might have had an answer.
    """

    def __init__(self, policy: Policy, *, ask_first: bool, is_cut: Callable[[int], bool]) -> None:
        self._policy = policy
        self._ask_first = ask_first
        self._is_cut = is_cut
        self._first: int | None = None
        self._held: list[Command] = []
        """The policy's commands that wait for the first trace."""
        self._untold: list[Event] = []
        """What the policy has yet to hear of the first trace."""
        self._num_without = 0
        self._some_answer = False

    @property
    def pauses(self) -> bool:
        """As the policy."""
        return self._policy.pauses

    def start(self) -> list[Command]:
        """Start the policy, or its first trace alone."""
        commands = self._policy.start()
        first = next((c for c in commands if isinstance(c, Launch)), None)
        if not self._ask_first or first is None:
            return commands
        self._first = first.sample
        self._held = [command for command in commands if command is not first]
        return [first]

    def handle(self, event: Event) -> list[Command]:
        """Stop where nothing can be compared; else let the policy decide."""
        if isinstance(event, Finished):
            self._some_answer = self._some_answer or event.answer is not None
            self._num_without += event.answer is None and not self._is_cut(event.sample)
            enough = 1 if self._ask_first else ENOUGH
            if not self._some_answer and self._num_without >= enough:
                return [Stop("no answer to compare")]
        if self._first is None or event.sample != self._first or not self._ask_first:
            return self._carried(self._policy.handle(event))
        self._untold.append(event)
        if isinstance(event, PrefixReady) and self.pauses:
            return [Continue(event.sample)]
        if not isinstance(event, Finished | Failed):
            return []
        self._ask_first = False
        held, self._held = self._held, []
        return held + self._tell()

    def decision(self) -> Decision:
        """The policy's conclusion so far."""
        return self._policy.decision()

    def _tell(self) -> list[Command]:
        """Tell the policy of the first trace: up to its checkpoint, where it would pause there."""
        commands: list[Command] = []
        while self._untold:
            event = self._untold.pop(0)
            commands += self._carried(self._policy.handle(event))
            if isinstance(event, PrefixReady) and self.pauses:
                break
        return commands

    def _carried(self, commands: list[Command]) -> list[Command]:
        """Without the commands about the first trace, which has ended: they are answered here."""
        carried: list[Command] = []
        for command in commands:
            match command:
                case Continue(sample=sample) if sample == self._first and not self._ask_first:
                    carried += self._tell()
                case Cancel(sample=sample) if sample == self._first and not self._ask_first:
                    self._untold.clear()
                case _:
                    carried.append(command)
        return carried
