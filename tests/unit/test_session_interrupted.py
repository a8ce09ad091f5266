"""A session that is interrupted, and bills that arrive late."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from deepprune.events import (
    Cancel,
    Finished,
    PrefixReady,
    Progress,
    Stop,
)
from deepprune.ledger import Fate, Ledger
from tests.support.sessions import all_over, cons, deepprune, some_cancelled


def test_an_interruption_cancels_everything_and_keeps_the_vote_as_it_is():
    session = cons(4)
    session.start()
    session.handle(Finished(2, "8", 30))
    session.handle(Progress(0, 12))
    assert session.interrupt("deadline") == [
        Cancel(0, "deadline"),
        Cancel(1, "deadline"),
        Cancel(3, "deadline"),
        Stop("deadline"),
    ]
    outcome = session.outcome()
    assert outcome.answer == "8"
    assert not outcome.complete
    assert outcome.ledger.cancelled_before_checkpoint_tokens == 12
    assert outcome.ledger.launched_traces == 4


def test_an_interruption_after_the_end_changes_nothing():
    session = cons(1)
    session.start()
    session.handle(Finished(0, "8", 30))
    assert session.interrupt("deadline") == []
    assert session.outcome().complete


def test_an_interruption_before_any_vote_leaves_no_answer():
    session = deepprune(3)
    session.start()
    session.handle(PrefixReady(0, 5))
    session.interrupt("deadline")
    outcome = session.outcome()
    assert outcome.answer is None
    assert outcome.decision.clusters == ((0,),)
    assert [end.fate for end in outcome.ends] == [
        Fate.CANCELLED_AFTER_CHECKPOINT,
        Fate.CANCELLED_BEFORE_CHECKPOINT,
        Fate.CANCELLED_BEFORE_CHECKPOINT,
    ]


def test_an_engine_corrects_the_bill_of_a_trace_that_was_cancelled():
    session = some_cancelled()
    session.settle(2, num_tokens=12, late_tokens=4)
    assert session.ledger.cancelled_after_checkpoint_tokens == 12
    assert session.ledger.late_tokens == 4


def test_a_bill_is_never_corrected_downwards():
    session = some_cancelled()
    session.settle(2, num_tokens=3, late_tokens=0)
    assert session.ledger.cancelled_after_checkpoint_tokens == 5


def test_an_outcome_that_was_handed_out_still_adds_up_after_a_late_report():
    session = all_over()
    outcome = session.outcome()
    before = outcome.ends
    session.settle(2, num_tokens=40, late_tokens=40)
    assert sum(end.num_tokens for end in outcome.ends) == outcome.ledger.generated_tokens == 20
    assert outcome.ends == before
    assert session.outcome().ledger.generated_tokens == 60
    with pytest.raises(FrozenInstanceError):
        outcome.ends[0].num_tokens = 0  # type: ignore[misc]


def test_costs_that_are_not_of_traces_are_added_up():
    session = cons(1)
    session.add_costs(prompt_computed_tokens=10, trace_s=1.0)
    session.add_costs(prompt_computed_tokens=5, prompt_cached_tokens=7, trace_s=0.5, wall_s=2.0)
    assert session.ledger == Ledger(
        prompt_computed_tokens=15, prompt_cached_tokens=7, trace_s=1.5, wall_s=2.0
    )
    with pytest.raises(KeyError):
        session.add_costs(coffee=1)
