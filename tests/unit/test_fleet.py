"""Virtual time: the roofline of a step, engines worked out by hand, fleets of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepprune.events import Judged
from deepprune.fleet import Fleet, replay_together
from deepprune.policies import make_policy
from deepprune.policy_config import ConsConfig, DeepPruneConfig
from deepprune.replay import Replay, ReplayTrace
from deepprune.speed import SpeedConfig
from deepprune.traces import Problem

SPEEDS = st.builds(
    SpeedConfig,
    step_s=st.floats(0.001, 0.1),
    step_s_per_context_token=st.sampled_from([0.0, 1e-8, 1e-6]),
    compute_s_per_trace=st.sampled_from([0.0, 1e-4, 1e-3, 1e-2]),
    step_s_per_trace=st.floats(0, 0.001),
)
BATCH = {"num_traces": st.integers(1, 500), "context": st.floats(0, 1e6)}


class TestSpeed:
    @given(speed=SPEEDS, steps=st.floats(0, 5000), **BATCH)
    def test_steps_and_seconds_are_inverse(self, speed, steps, num_traces, context):
        seconds = speed.seconds(steps, num_traces, context)
        assert speed.steps(seconds, num_traces, context) == pytest.approx(steps, abs=1e-6)

    @given(speed=SPEEDS, first=st.floats(0, 3000), second=st.floats(0, 3000), **BATCH)
    def test_a_stretch_is_as_long_as_its_parts(self, speed, first, second, num_traces, context):
        whole = speed.seconds(first + second, num_traces, context)
        rest = speed.seconds(second, num_traces, context + first * num_traces)
        assert speed.seconds(first, num_traces, context) + rest == pytest.approx(whole)

    def test_a_step_takes_the_longer_of_reading_and_computing(self):
        speed = SpeedConfig(
            step_s=0.01,
            step_s_per_context_token=1e-6,
            compute_s_per_trace=0.001,
            step_s_per_trace=0.0001,
        )
        assert speed.seconds(1e-9, 5, 0) == pytest.approx(1e-9 * (0.01 + 0.0005))
        assert speed.seconds(1e-9, 50, 0) == pytest.approx(1e-9 * (0.05 + 0.005))
        assert speed.seconds(1e-9, 50, 90_000) == pytest.approx(1e-9 * (0.1 + 0.005))
        # 50 traces: arithmetic, 0.05 s, until they hold 40,000 tokens after 800 steps.
        stepwise = sum(max(0.01 + 1e-6 * 50 * (k + 0.5), 0.05) + 0.005 for k in range(1600))
        assert speed.seconds(1600, 50, 0) == pytest.approx(stepwise)

    def test_the_defaults_know_no_context(self):
        assert SpeedConfig().seconds(10, 100, 1e9) == pytest.approx(10 * (0.02 + 0.01))


def traces(*lengths: int, answer: str = "1", checkpoint: int | None = None) -> list[ReplayTrace]:
    return [
        ReplayTrace(i, n, checkpoint if checkpoint and checkpoint < n else None, answer)
        for i, n in enumerate(lengths)
    ]


def cons(fleet: Fleet, *lengths: int, name: str = "a", prompt_tokens: int = 0) -> Replay:
    config = ConsConfig(num_traces=len(lengths))
    policy = make_policy(config, 0)
    return Replay(
        Problem(name, "?"),
        traces(*lengths),
        policy,
        "cons",
        fleet=fleet,
        prompt_tokens=prompt_tokens,
    )


PLAIN = SpeedConfig(step_s=1.0, step_s_per_trace=0.5)


class TestEnginesByHand:
    def test_what_is_left_goes_on_faster(self):
        outcome = cons(Fleet([PLAIN]), 10, 20).run()
        assert outcome.ledger.wall_s == pytest.approx(10 * 2.0 + 10 * 1.5)
        assert outcome.ledger.trace_s == pytest.approx(20 + 35)

    def test_a_trace_waits_for_a_slot(self):
        one_by_one = PLAIN.model_copy(update={"streams": 1})
        outcome = cons(Fleet([one_by_one]), 10, 20).run()
        assert outcome.ledger.wall_s == pytest.approx(30 * 1.5)

    def test_the_cache_has_room_for_so_many(self):
        # Each holds 100 tokens of prompt and 5 of its own, on average: two fit, the third waits.
        speed = PLAIN.model_copy(update={"cache_tokens": 250})
        outcome = cons(Fleet([speed]), 10, 10, 10, prompt_tokens=100).run()
        assert outcome.ledger.wall_s == pytest.approx(10 * 2.0 + 10 * 1.5)

    def test_a_trace_that_fits_nowhere_runs_alone(self):
        speed = PLAIN.model_copy(update={"cache_tokens": 1})
        assert cons(Fleet([speed]), 10, 10).run().ledger.wall_s == pytest.approx(20 * 1.5)

    def test_context_slows_steps_down(self):
        speed = SpeedConfig(step_s=1.0, step_s_per_trace=0, step_s_per_context_token=0.01)
        outcome = cons(Fleet([speed]), 10, prompt_tokens=100).run()
        # 10 steps that read 100 to 110 tokens beside the weights.
        assert outcome.ledger.wall_s == pytest.approx(10 * 1.0 + 0.01 * 1050)

    def test_decoding_stands_still_while_prompts_are_read(self):
        speed = PLAIN.model_copy(update={"prefill_tokens_per_s": 50})
        outcome = cons(Fleet([speed]), 10, 20, prompt_tokens=100).run()
        # One prompt of 100 tokens; the second trace finds it in the cache.
        assert outcome.ledger.wall_s == pytest.approx(2 + 20 + 15)
        assert outcome.ledger.prompt_computed_tokens == 100
        assert outcome.ledger.prompt_cached_tokens == 100


class TestFleets:
    def test_two_engines_share_the_traces(self):
        outcome = cons(Fleet([PLAIN, PLAIN]), 10, 10, prompt_tokens=7).run()
        assert outcome.ledger.wall_s == pytest.approx(10 * 1.5)
        assert outcome.ledger.prompt_computed_tokens == 14, "each engine reads the prompt"

    def test_problems_share_an_engine(self):
        fleet = Fleet([PLAIN])
        replays = [cons(fleet, 10, name="a"), cons(fleet, 20, name="b")]
        first, second = replay_together(fleet, replays, max_problems=2)
        assert first.problem.problem_id == "a"
        assert first.ledger.wall_s == pytest.approx(10 * 2.0)
        assert second.ledger.wall_s == pytest.approx(10 * 2.0 + 10 * 1.5)
        assert fleet.busy_s == fleet.now_s == pytest.approx(35)

    def test_one_problem_at_a_time(self):
        fleet = Fleet([PLAIN])
        replays = [cons(fleet, 10, name="a"), cons(fleet, 20, name="b")]
        walls = [o.ledger.wall_s for o in replay_together(fleet, replays, max_problems=1)]
        assert walls == [pytest.approx(15), pytest.approx(30)]

    @pytest.mark.parametrize(("num_judges", "replies"), [(1, [3, 5, 7]), (2, [3, 3, 5])])
    def test_judges_take_calls_in_turn(self, num_judges, replies):
        speed = SpeedConfig(judge_s=1, judge_tokens_per_s=4)
        fleet = Fleet([speed], [speed] * num_judges)
        owner = cons(fleet, 10)
        for sample in range(3):
            fleet.judge(owner, Judged(sample, {}, computed_tokens=8), free=False)
        for sample, at in enumerate(replies):
            who, reply = fleet.next()
            assert (who, reply.sample, fleet.now_s) == (owner, sample, at)
            assert reply.seconds == at

    def test_a_judge_that_costs_nothing_answers_at_once(self):
        fleet = Fleet([SpeedConfig()])
        owner = cons(fleet, 10)
        fleet.judge(owner, Judged(0, {}, computed_tokens=0), free=True)
        fleet.next()
        assert fleet.now_s == 0

    @given(st.lists(st.lists(st.integers(1, 60), min_size=2, max_size=9), min_size=1, max_size=6))
    def test_tokens_do_not_depend_on_who_else_is_there(self, problems):
        speed = SpeedConfig(streams=3)
        fleet = Fleet([speed, speed])
        replays = [cons(fleet, *lengths, name=str(i)) for i, lengths in enumerate(problems)]
        outcomes = {o.problem.problem_id: o for o in replay_together(fleet, replays, 4)}
        assert len(outcomes) == len(problems)
        for i, lengths in enumerate(problems):
            ledger = outcomes[str(i)].ledger
            assert ledger.finished_tokens == sum(lengths)
            assert ledger.finished_traces == len(lengths)

    def test_pruning_on_several_engines_adds_up(self):
        speed = SpeedConfig(streams=4, prefill_tokens_per_s=1000)
        outcome = deepprune(Fleet([speed] * 3), list(range(30, 94))).run()
        ledger = outcome.ledger
        assert outcome.answer == "1"
        assert ledger.generated_tokens == sum(end.num_tokens for end in outcome.ends)
        assert ledger.cancelled_traces > 0
        assert ledger.prompt_computed_tokens > 0, "some prefixes are resumed elsewhere"


class AlwaysSame:
    reads = "pairs"

    def p_same(self, second, firsts):
        return [0.9] * len(firsts)


def deepprune(fleet: Fleet, lengths: list[int]) -> Replay:
    config = DeepPruneConfig(num_traces=len(lengths), checkpoint="tokens:10", wave=8)
    return Replay(
        Problem("p", "?"),
        traces(*lengths, checkpoint=10),
        make_policy(config, 0),
        "deepprune",
        judge=AlwaysSame(),
        fleet=fleet,
    )
