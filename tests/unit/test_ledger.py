from dataclasses import fields

import pytest

from deepprune.ledger import Fate, Ledger, TraceEnd


def test_every_fate_has_its_tokens_and_its_traces_in_the_ledger():
    names = {field.name for field in fields(Ledger)}
    assert {f"{fate}_tokens" for fate in Fate} <= names
    assert {f"{fate}_traces" for fate in Fate} <= names


def test_generated_tokens_and_launched_traces_are_the_sums_over_the_fates():
    ledger = Ledger(
        **{f"{fate}_tokens": 10**index for index, fate in enumerate(Fate)},
        **{f"{fate}_traces": 2 * 10**index for index, fate in enumerate(Fate)},
    )
    assert ledger.generated_tokens == 1111
    assert ledger.launched_traces == 2222
    assert ledger.cancelled_traces == 220


def test_late_prompt_and_judge_tokens_are_not_generated_a_second_time():
    ledger = Ledger(
        cancelled_after_checkpoint_tokens=100,
        late_tokens=7,
        prompt_computed_tokens=50,
        prompt_cached_tokens=60,
        judge_computed_tokens=70,
        judge_cached_tokens=80,
    )
    assert ledger.generated_tokens == 100


def test_two_bills_add_up_entry_by_entry():
    first = Ledger(**{field.name: index for index, field in enumerate(fields(Ledger))})
    second = Ledger(**{field.name: 100 for field in fields(Ledger)})
    for index, field in enumerate(fields(Ledger)):
        assert getattr(first + second, field.name) == 100 + index
    assert first + Ledger() == first


def test_the_bills_of_many_problems_add_up_with_sum():
    bills = [Ledger(finished_tokens=number, wall_s=0.5) for number in range(5)]
    total = sum(bills, start=Ledger())
    assert (total.finished_tokens, total.wall_s) == (10, 2.5)


def test_a_ledger_does_not_change_once_it_is_handed_out():
    with pytest.raises(AttributeError):
        Ledger().finished_tokens = 1  # type: ignore[misc]


def test_a_trace_end_without_late_tokens_bills_none():
    assert TraceEnd(3, Fate.LOST, "its generator died", 12).late_tokens == 0
