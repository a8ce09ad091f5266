"""Sessions of one policy each."""

from __future__ import annotations

from deepprune.events import (
    Finished,
    Judged,
    PrefixReady,
)
from deepprune.policies import Cons, DeepPrune
from deepprune.policy_config import ConsConfig, DeepPruneConfig
from deepprune.session import Session
from tests.support.memory_driver import PROBLEM


def cons(num_traces: int, *, stop_when_decided: bool = False) -> Session:
    config = ConsConfig(num_traces=num_traces, stop_when_decided=stop_when_decided)
    return Session(PROBLEM, Cons(config), "cons")


def deepprune(num_traces: int, **settings: object) -> Session:
    config = DeepPruneConfig(num_traces=num_traces, **settings)
    return Session(PROBLEM, DeepPrune(config, seed=0), "deepprune")


def some_cancelled() -> Session:
    """Trace 2 was cancelled at its checkpoint, 0 and 1 are finishing."""
    session = deepprune(3, stop_when_decided=False)
    session.start()
    for event in (
        PrefixReady(0, 5),
        PrefixReady(1, 5),
        PrefixReady(2, 5),
        Judged(1, {0: 0.9}),
        Judged(2, {0: 0.1}),
        Judged(2, {1: 0.1}),
    ):
        session.handle(event)
    assert session.ends[2].reason == "minority"
    return session


def all_over() -> Session:
    """The vote is decided: 0 and 1 finished, 2 was cancelled."""
    session = cons(3, stop_when_decided=True)
    session.start()
    session.handle(Finished(0, "1", 10))
    session.handle(Finished(1, "2", 10))
    session.interrupt("enough")
    assert session.ends[2].reason == "enough"
    return session
