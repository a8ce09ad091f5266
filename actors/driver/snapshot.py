"""The state of a running problem, for displays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from actors.driver.live_trace import LiveTrace
from deepprune.session import Session


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Numbers of a problem. `clusters` has their sizes, `votes` those of each answer."""

    problem_id: str
    states: dict[str, int]
    clusters: tuple[int, ...]
    votes: tuple[tuple[str, int], ...]
    num_tokens: int
    judge_tokens: int
    done: bool

    @classmethod
    def of(cls, session: Session, traces: Mapping[int, LiveTrace]) -> Snapshot:
        """Take a snapshot of a session and its traces."""
        decision = session.decision()
        return cls(
            session.problem.problem_id,
            dict(session.states),
            tuple(len(cluster) for cluster in decision.clusters),
            tuple((answer, len(samples)) for answer, samples in decision.votes),
            sum(trace.num_tokens for trace in traces.values()),
            session.ledger.judge_computed_tokens,
            session.stopped,
        )
