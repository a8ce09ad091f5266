"""Self-consistency: sample n traces to their end, let the majority answer (Wang et al. 2022)."""

from __future__ import annotations

from deepprune.events import Command, Decision, Event, Failed, Finished, Launch, Stop
from deepprune.policies.finishing import Finishing
from deepprune.policy_config import ConsConfig


class Cons:
    """Every trace finishes; nothing is judged."""

    pauses = False

    def __init__(self, config: ConsConfig) -> None:
        self._finishing = Finishing(
            range(config.num_traces),
            {},
            stop_when_decided=config.stop_when_decided,
        )

    def start(self) -> list[Command]:
        """Launch all traces, or as many as could decide the vote."""
        return self._advance()

    def handle(self, event: Event) -> list[Command]:
        """Count each trace that ends."""
        match event:
            case Finished(sample=sample, answer=answer):
                self._finishing.ended(sample, answer)
            case Failed(sample=sample):
                self._finishing.ended(sample, None)
            case _:
                return []
        return self._advance()

    def decision(self) -> Decision:
        """The majority so far."""
        return Decision(self._finishing.vote.answer, self._finishing.vote.groups)

    def _advance(self) -> list[Command]:
        if self._finishing.done:
            return [Stop("decided")]
        return [Launch(sample, to_end=True) for sample in self._finishing.next()]
