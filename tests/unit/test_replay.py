from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepprune.judges import noisy
from deepprune.ledger import Fate
from deepprune.policies import make_policy
from deepprune.policy_config import (
    AdaptiveConfig,
    ConsConfig,
    DeepConfConfig,
    DeepPruneConfig,
    EscConfig,
    PlusConfig,
    PolicyConfig,
)
from deepprune.replay import Replay, ReplayTrace, SpeedConfig
from deepprune.traces import Problem

PROBLEM = Problem("recorded/1", "What is it?", "7")
untimed = settings(deadline=None, max_examples=60)


class Judge:
    """Samples of one parity agree; notes what it is asked."""

    reads = "pairs"

    def __init__(self) -> None:
        self.calls: list[tuple[int, tuple[int, ...]]] = []

    def p_same(self, second, firsts):
        self.calls.append((second, tuple(firsts)))
        return [0.99 if first % 2 == second % 2 else 0.01 for first in firsts]


def replay(policy: PolicyConfig, traces: list[ReplayTrace], **options):
    made = make_policy(policy, 0)
    return Replay(PROBLEM, traces, made, policy.name, **options)


def trace(sample: int, num_tokens: int, answer: str | None = "7", checkpoint: int | None = None):
    return ReplayTrace(sample, num_tokens, checkpoint, answer)


# --- virtual time, worked by hand ---------------------------------------------------------------


def test_a_step_takes_longer_the_more_traces_there_are():
    speed = SpeedConfig(streams=8, step_s=0.1, step_s_per_trace=0.05)
    outcome = replay(ConsConfig(num_traces=2), [trace(0, 10), trace(1, 20)], speed=speed).run()
    # 10 steps of two traces at 0.2 s, then 10 steps of one at 0.15 s.
    assert outcome.ledger.wall_s == pytest.approx(3.5)
    assert outcome.ledger.trace_s == pytest.approx(2.0 + 3.5)


def test_traces_beyond_the_streams_wait_for_a_slot():
    speed = SpeedConfig(streams=1, step_s=0.1, step_s_per_trace=0.05)
    outcome = replay(ConsConfig(num_traces=2), [trace(0, 10), trace(1, 20)], speed=speed).run()
    assert outcome.ledger.wall_s == pytest.approx(30 * 0.15)


def test_a_cancelled_trace_is_billed_for_what_it_had_decoded_by_then():
    speed = SpeedConfig(streams=8, step_s=0.1, step_s_per_trace=0.05)
    policy = ConsConfig(num_traces=3, stop_when_decided=True)
    traces = [trace(0, 10), trace(1, 20), trace(2, 90)]
    outcome = replay(policy, traces, speed=speed).run()
    # Two of three votes decide, and only two are launched for them.
    assert outcome.ledger.generated_tokens == 30
    deepprune = DeepPruneConfig(
        num_traces=3, tau=0.5, max_finish=2, at_checkpoint="run", stop_when_decided=False, wave=3
    )
    short = [trace(0, 10, checkpoint=5), trace(2, 30, checkpoint=5), trace(1, 90, checkpoint=5)]
    outcome = replay(deepprune, short, judge=Judge(), speed=SpeedConfig(judge_s=0)).run()
    ends = {end.sample: end for end in outcome.ends}
    assert ends[1].fate is Fate.CANCELLED_AFTER_CHECKPOINT
    assert 5 <= ends[1].num_tokens < 90


def test_the_judges_answer_comes_after_its_latency_and_its_tokens():
    judge = Judge()
    policy = DeepPruneConfig(num_traces=2, tau=0.5)
    speed = SpeedConfig(step_s=0.1, step_s_per_trace=0.05, judge_s=2.0, judge_tokens_per_s=10)
    traces = [trace(0, 40, checkpoint=20), trace(2, 60, checkpoint=20)]
    outcome = replay(policy, traces, judge=judge, speed=speed).run()
    assert judge.calls == [(2, (0,))]
    assert outcome.ledger.judge_pairs == 1
    assert outcome.ledger.judge_computed_tokens == 40  # both prefixes
    # 20 steps of two; 40 tokens at 10/s and 2 s; then both finish: 20 steps of two, 20 of one.
    assert outcome.ledger.wall_s == pytest.approx(20 * 0.2 + 4 + 2 + 20 * 0.2 + 20 * 0.15)


def test_a_call_to_the_judge_computes_the_new_prefix_once():
    judge = Judge()
    policy = DeepPruneConfig(num_traces=4, tau=0.5, wave=1)
    traces = [trace(sample, 40, checkpoint=20) for sample in (0, 1, 3, 2)]
    outcome = replay(policy, traces, judge=judge).run()
    assert [firsts for _, firsts in judge.calls] == [(0,), (0, 1), (0, 1, 3)]
    ledger = outcome.ledger
    assert ledger.judge_computed_tokens == 20 * (3 + 6)  # the new one of each call, and all members
    assert ledger.judge_cached_tokens == 20 * 3


def test_the_prompt_is_computed_once():
    traces = [trace(sample, 10) for sample in range(4)]
    ledger = replay(ConsConfig(num_traces=4), traces, prompt_tokens=30).run().ledger
    assert (ledger.prompt_computed_tokens, ledger.prompt_cached_tokens) == (30, 90)


# --- whatever was recorded ----------------------------------------------------------------------

POLICIES: list[PolicyConfig] = [
    ConsConfig(num_traces=24),
    ConsConfig(num_traces=24, stop_when_decided=True),
    EscConfig(name="esc", num_traces=24),
    AdaptiveConfig(name="adaptive", num_traces=24),
    AdaptiveConfig(name="adaptive", num_traces=24, wave="needed"),
    DeepConfConfig(name="deepconf-low", num_traces=24, warmup=6),
    DeepConfConfig(name="deepconf-high", num_traces=24, online=False),
    DeepPruneConfig(num_traces=24, max_finish=6),
    DeepPruneConfig(num_traces=24, max_finish=6, at_checkpoint="run", wave=24),
    PlusConfig(name="deepprune+", num_traces=24, auroc=0.9),
]


def recorded(seed: int, num_traces: int = 24) -> list[ReplayTrace]:
    random = Random(seed)
    traces = []
    for sample in range(num_traces):
        tokens = random.randint(1, 400)
        lows = sorted(random.sample(range(1, tokens + 1), min(3, tokens)))
        traces.append(
            ReplayTrace(
                sample,
                tokens,
                100 if tokens > 100 else None,
                random.choice(["7", "7", "7", "1", "2", None]),
                tuple((at, -float(place)) for place, at in enumerate(lows)),
            )
        )
    return traces


@untimed
@given(seed=st.integers(0, 2**32), policy=st.sampled_from(POLICIES), streams=st.integers(1, 30))
def test_the_same_recording_gives_the_same_outcome_and_the_ledger_adds_up(seed, policy, streams):
    traces = recorded(seed)
    judge = noisy({t.sample: t.answer for t in traces}, 0.85, 0.5, seed)
    speed = SpeedConfig(streams=streams)
    first, second = (replay(policy, traces, judge=judge, speed=speed).run() for _ in range(2))
    assert first == second
    ledger = first.ledger
    assert ledger.launched_traces == len(first.ends) == len({end.sample for end in first.ends})
    assert ledger.generated_tokens == sum(end.num_tokens for end in first.ends)
    for end in first.ends:
        whole = traces[end.sample].num_tokens
        assert end.num_tokens == whole if end.fate is Fate.FINISHED else end.num_tokens <= whole
    assert ledger.wall_s >= 0 and ledger.trace_s <= streams * ledger.wall_s + 1e-6
    assert 1 <= first.rounds <= 2 * len(first.ends)
    voted = {sample for _, samples in first.decision.votes for sample in samples}
    finished = {end.sample for end in first.ends if end.fate is Fate.FINISHED}
    assert voted <= finished


@untimed
@given(seed=st.integers(0, 2**32), streams=st.integers(1, 30))
def test_how_many_run_at_a_time_does_not_change_what_self_consistency_says(seed, streams):
    traces = recorded(seed)
    outcome = replay(ConsConfig(num_traces=24), traces, speed=SpeedConfig(streams=streams)).run()
    answers = [trace.answer for trace in traces if trace.answer is not None]
    counts = {answer: answers.count(answer) for answer in answers}
    best = max(counts.values(), default=0)
    assert outcome.answer is None if not counts else counts[outcome.answer] == best
    assert outcome.ledger.generated_tokens == sum(trace.num_tokens for trace in traces)


# --- a given order ------------------------------------------------------------------------------


def test_a_given_order_is_followed():
    traces = [trace(0, 90, "1"), trace(1, 10, "7"), trace(2, 20, "7")]
    policy = ConsConfig(num_traces=3, stop_when_decided=True)
    order = [("Finished", 0), ("Finished", 1), ("Finished", 2)]
    outcome = replay(policy, traces, order=order).run()
    assert list(outcome.events) == order
    assert outcome.answer == "7"


@pytest.mark.parametrize(
    ("order", "said"),
    [
        ([("Finished", 0)], "ends before"),
        ([("PrefixReady", 0)], "out of place"),
        ([("Judged", 0)], "which nobody asked"),
    ],
)
def test_an_order_that_cannot_have_been_is_refused(order, said):
    with pytest.raises(ValueError, match=said):
        replay(ConsConfig(num_traces=2), [trace(0, 9), trace(1, 9)], order=order).run()
