"""A request's course as events that a page can draw; docs/endpoint.md describes each."""

from __future__ import annotations

import time
from typing import Any

from actors.driver.live import LiveProblem
from actors.serving.completion import Solution, vote_shares
from deepprune.events import (
    Cancel,
    Command,
    Continue,
    Event,
    Failed,
    Finished,
    Judged,
    JudgeLost,
    Launch,
    PrefixReady,
    Progress,
)

REGROUPING = (Judged, JudgeLost, Finished, PrefixReady)
"""Events after which traces may have changed cluster, or votes their count."""


class Narrator:
    """Follows a `LiveProblem` step by step. `take` hands over what is new."""

    def __init__(self, live: LiveProblem) -> None:
        self._live = live
        self._started = time.monotonic()
        self._new: list[dict[str, Any]] = []
        self._grown: dict[int, int] = {}
        self._cluster_of: dict[int, int] = {}
        self._votes: tuple[tuple[str, tuple[int, ...]], ...] = ()

    def take(self) -> tuple[list[dict[str, Any]], dict[int, int]]:
        """Events since the last call, and the tokens of traces that have grown since."""
        new, grown = self._new, self._grown
        self._new, self._grown = [], {}
        return new, grown

    def tell(self, type: str, **fields: Any) -> None:
        """Add an event."""
        seconds = round(time.monotonic() - self._started, 3)
        self._new.append({"type": type, "t": seconds} | fields)

    def step(self, event: Event | None, commands: list[Command]) -> None:
        """Tell of an event and of what followed from it."""
        match event:
            case Progress(sample=sample, num_tokens=num_tokens):
                self._grown[sample] = num_tokens
            case PrefixReady(sample=sample, num_tokens=num_tokens):
                self.tell("checkpoint", sample=sample, tokens=num_tokens)
            case Finished(sample=sample, answer=answer, num_tokens=num_tokens):
                self.tell("finish", sample=sample, tokens=num_tokens, answer=answer)
            case Failed(sample=sample):
                tokens = self._live.traces[sample].num_tokens
                self.tell("lost", sample=sample, tokens=tokens)
        if isinstance(event, REGROUPING):
            self._regroup()
        for command in commands:
            match command:
                case Launch(sample=sample):
                    self.tell("launch", sample=sample)
                case Continue(sample=sample):
                    self.tell("resume", sample=sample)
                case Cancel(sample=sample, reason=reason):
                    tokens = self._live.traces[sample].num_tokens
                    self.tell("cut", sample=sample, tokens=tokens, reason=reason)

    def end(self, solution: Solution | None, stopped_by: str | None) -> None:
        """Tell how it ended; `solution` is None where it failed."""
        if solution is None:
            self.tell("end", status="failed", stop_reason=stopped_by or "failed")
            return
        trace = solution.answer_trace
        self.tell(
            "end",
            status="done" if stopped_by is None else "stopped",
            stop_reason=stopped_by or "vote",
            tokens={end.sample: end.num_tokens for end in solution.outcome.ends},
            content=trace.text if trace else "",
            result=solution.result.model_dump(),
            usage=solution.usage.model_dump(),
        )

    def _regroup(self) -> None:
        decision = self._live.session.decision()
        for cluster, samples in enumerate(decision.clusters):
            for sample in samples:
                if self._cluster_of.get(sample) != cluster:
                    self._cluster_of[sample] = cluster
                    self.tell("cluster", sample=sample, cluster=cluster)
        if decision.votes != self._votes:
            self._votes = decision.votes
            votes = [vote.model_dump() for vote in vote_shares(decision.votes)]
            self.tell("vote", votes=votes)
