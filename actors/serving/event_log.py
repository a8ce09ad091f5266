"""The event log of a request, for the live view; docs/endpoint.md describes each event."""

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

LEADING_ANSWERS = 16
"""Answers in a vote event: there is one event for each vote."""
ANSWER_CHARS = 500
REGROUPING_EVENTS = (Judged, JudgeLost, Finished, PrefixReady)
"""Events after which clusters or vote counts may have changed."""


class EventLog:
    """Records the steps of a `LiveProblem`."""

    def __init__(self, live: LiveProblem) -> None:
        self._live = live
        self._started = time.monotonic()
        self._events: list[dict[str, Any]] = []
        self._tokens: dict[int, int] = {}
        self._cluster_of: dict[int, int] = {}
        self._votes: tuple[tuple[str, tuple[int, ...]], ...] = ()

    def take(self) -> tuple[list[dict[str, Any]], dict[int, int]]:
        """Return events since the last call, and token counts of traces that grew since."""
        events, tokens = self._events, self._tokens
        self._events, self._tokens = [], {}
        return events, tokens

    def add(self, type: str, **fields: Any) -> None:
        """Add an event."""
        seconds = round(time.monotonic() - self._started, 3)
        self._events.append({"type": type, "t": seconds} | fields)

    def step(self, event: Event | None, commands: list[Command]) -> None:
        """Add an event, and the commands that followed it."""
        match event:
            case Progress(sample=sample, num_tokens=num_tokens):
                self._tokens[sample] = num_tokens
            case PrefixReady(sample=sample, num_tokens=num_tokens):
                self.add("checkpoint", sample=sample, tokens=num_tokens)
            case Finished(sample=sample, answer=answer, num_tokens=num_tokens):
                self.add("finish", sample=sample, tokens=num_tokens, answer=_short(answer))
            case Failed(sample=sample):
                tokens = self._live.traces[sample].num_tokens
                self.add("lost", sample=sample, tokens=tokens)
        if isinstance(event, REGROUPING_EVENTS):
            self._regroup()
        for command in commands:
            match command:
                case Launch(sample=sample):
                    self.add("launch", sample=sample)
                case Continue(sample=sample):
                    self.add("resume", sample=sample)
                case Cancel(sample=sample, reason=reason):
                    tokens = self._live.traces[sample].num_tokens
                    self.add("cut", sample=sample, tokens=tokens, reason=reason)

    def end(self, solution: Solution | None, stopped_by: str | None) -> None:
        """Add the end of the request; `solution` is None if it failed."""
        if solution is None:
            self.add("end", status="failed", stop_reason=stopped_by or "failed")
            return
        spoken = solution.spoken
        self.add(
            "end",
            status="done" if stopped_by is None else "stopped",
            stop_reason=solution.stop_reason,
            tokens={end.sample: end.num_tokens for end in solution.outcome.ends},
            content=spoken.answer,
            reasoning_content=spoken.thought,
            result=solution.result.model_dump(),
            usage=solution.usage.model_dump(),
        )

    def _regroup(self) -> None:
        decision = self._live.session.decision()
        for cluster, samples in enumerate(decision.clusters):
            for sample in samples:
                if self._cluster_of.get(sample) != cluster:
                    self._cluster_of[sample] = cluster
                    self.add("cluster", sample=sample, cluster=cluster)
        if decision.votes != self._votes:
            self._votes = decision.votes
            leading = vote_shares(decision.votes)[:LEADING_ANSWERS]
            votes = [vote.model_dump() | {"answer": _short(vote.answer)} for vote in leading]
            num_votes = sum(len(samples) for _, samples in decision.votes)
            self.add("vote", votes=votes, num_votes=num_votes, num_answers=len(decision.votes))


def _short(answer: str | None) -> str | None:
    return answer if answer is None or len(answer) <= ANSWER_CHARS else answer[:ANSWER_CHARS] + "…"
