from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepprune.events import (
    Cancel,
    Continue,
    Failed,
    Finished,
    Judge,
    Judged,
    JudgeLost,
    Launch,
    PrefixReady,
    Stop,
)
from deepprune.ledger import Fate
from deepprune.policies import Cons, DeepPrune, make_policy
from deepprune.policies.deepprune import DEFAULT_TAU
from deepprune.policies.finishing import Finishing
from deepprune.policy_config import ConsConfig, DeepPruneConfig
from deepprune.session import Session
from tests.support.memory_driver import PROBLEM, Driver, PSame, SimulatedTrace

SEEDS = st.integers(0, 2**32)
untimed = settings(deadline=None)


def traces(*answers: str | None) -> list[SimulatedTrace]:
    return [SimulatedTrace(answer) for answer in answers]


def perfect(plans: list[SimulatedTrace]) -> PSame:
    """A judge that knows the answers."""
    return lambda a, b: 0.99 if plans[a].answer == plans[b].answer else 0.01


def noisy(seed: int) -> PSame:
    """A judge whose verdict on a pair is random, but always the same."""
    return lambda a, b: Random(f"{seed}/{min(a, b)}/{max(a, b)}").random()


def majority(answers: dict[int, str | None]) -> str | None:
    """The plain majority; a tie goes to the answer of the earliest sample."""
    given = [answers[sample] for sample in sorted(answers) if answers[sample] is not None]
    return max(given, key=given.count, default=None)


def everything_allowed(num_traces: int, **settings: object) -> DeepPruneConfig:
    """Settings under which chance has no part in who is compared and who finishes."""
    return DeepPruneConfig(
        num_traces=num_traces,
        **{
            "tau": 0.5,
            "max_members": num_traces,
            "singletons_finish": num_traces,
            **settings,
        },
    )


@st.composite
def worlds(draw: st.DrawFn, *, all_answer: bool = False) -> list[SimulatedTrace]:
    """Traces of one problem: long and short ones, with answers and without, some of them doomed."""
    num_traces = draw(st.integers(1, 40))
    num_answers = draw(st.integers(1, 5))
    random = Random(draw(SEEDS))
    if all_answer:
        no_answer = failing = 0.0
    else:
        no_answer, failing = draw(st.sampled_from([(0, 0), (0.2, 0), (0, 0.2), (0.3, 0.3), (1, 0)]))
    return [
        SimulatedTrace(
            answer=None if random.random() < no_answer else str(random.randrange(num_answers)),
            num_tokens=random.randint(5 if all_answer else 1, 14),
            checkpoint=4,
            fails_at=random.randint(1, 14) if random.random() < failing else None,
        )
        for _ in range(num_traces)
    ]


@st.composite
def deepprune_settings(draw: st.DrawFn) -> dict[str, object]:
    return {
        "tau": draw(st.sampled_from([0.1, 0.5, 0.9])),
        "max_clusters": draw(st.integers(1, 16)),
        "max_members": draw(st.integers(1, 20)),
        "max_finish": draw(st.integers(1, 20)),
        "singletons_finish": draw(st.integers(1, 32)),
        "wave": draw(st.none() | st.integers(1, 40)),
        "at_checkpoint": draw(st.sampled_from(["pause", "run"])),
        "stop_when_decided": draw(st.booleans()),
    }


@st.composite
def judges(draw: st.DrawFn, plans: list[SimulatedTrace]) -> PSame:
    noise = noisy(draw(SEEDS))
    kind = draw(st.sampled_from(["perfect", "noisy", "all same", "none same"]))
    fixed = {"perfect": perfect(plans), "noisy": noise}
    return fixed.get(kind, lambda a, b: float(kind == "all same"))


# --- whatever happens ---------------------------------------------------------------------------


@untimed
@given(data=st.data(), plans=worlds(), seed=SEEDS)
def test_deepprune_always_comes_to_an_end_whatever_happens(data, plans, seed):
    config = DeepPruneConfig(num_traces=len(plans), **data.draw(deepprune_settings()))
    driver = Driver(
        make_policy(config, seed),
        plans,
        data.draw(judges(plans)),
        seed,
        in_order=data.draw(st.booleans()),
        judge_loss=data.draw(st.sampled_from([0, 0, 0.02, 0.3])),
        interrupt_at=data.draw(st.none() | st.integers(0, 100)),
        settles=data.draw(st.booleans()),
    )
    outcome = driver.run()
    check_outcome(driver, outcome)
    placed = [sample for cluster in outcome.decision.clusters for sample in cluster]
    assert len(placed) == len(set(placed))
    assert all(driver.traces[sample].has_prefix for sample in placed)
    assert len(outcome.decision.clusters) <= config.max_clusters
    limit = max(config.max_finish, config.singletons_finish)
    assert len(set(driver.commanded(Continue))) <= limit


@untimed
@given(data=st.data(), plans=worlds(), seed=SEEDS)
def test_self_consistency_always_comes_to_an_end_whatever_happens(data, plans, seed):
    config = ConsConfig(num_traces=len(plans), stop_when_decided=data.draw(st.booleans()))
    driver = Driver(
        make_policy(config, seed),
        plans,
        seed=seed,
        interrupt_at=data.draw(st.none() | st.integers(0, 100)),
        settles=data.draw(st.booleans()),
    )
    check_outcome(driver, driver.run())
    assert not driver.commanded(Judge)


def check_outcome(driver: Driver, outcome) -> None:
    """What holds of every outcome; the driver itself checks each step on the way."""
    assert [end.sample for end in outcome.ends] == sorted(driver.traces)
    launches = [command for command in driver.commands if isinstance(command, Launch)]
    assert outcome.ledger.launched_traces == len(launches)
    assert isinstance(driver.commands[-1], Stop)
    assert sum(isinstance(command, Stop) for command in driver.commands) == 1
    finished = {end.sample for end in outcome.ends if end.fate is Fate.FINISHED}
    voters = {sample: answer for answer, group in outcome.decision.votes for sample in group}
    assert set(voters) <= finished
    assert all(driver.traces[sample].plan.answer == voters[sample] for sample in voters)
    assert outcome.answer == majority(voters)
    cancelled = {end.sample for end in outcome.ends if end.fate.value.startswith("cancelled")}
    assert cancelled == set(driver.commanded(Cancel))


# --- self-consistency ---------------------------------------------------------------------------


@untimed
@given(plans=worlds(), seed=SEEDS, stop_when_decided=st.booleans())
def test_self_consistency_gives_the_full_majority_in_whatever_order_traces_end(
    plans, seed, stop_when_decided
):
    config = ConsConfig(num_traces=len(plans), stop_when_decided=stop_when_decided)
    outcome = Driver(Cons(config), plans, seed=seed).run()
    answers = {
        sample: plan.answer
        for sample, plan in enumerate(plans)
        if plan.fails_at is None or plan.fails_at > plan.num_tokens
    }
    assert outcome.answer == majority(answers)


def test_self_consistency_lets_every_trace_finish():
    plans = traces("1", "1", "1", "2")
    outcome = Driver(Cons(ConsConfig(num_traces=4)), plans).run()
    assert outcome.decision.votes == (("1", (0, 1, 2)), ("2", (3,)))
    assert outcome.ledger.finished_traces == 4
    assert outcome.ledger.generated_tokens == 40


def test_a_decided_majority_launches_no_more_than_it_takes():
    plans = traces(*["7"] * 9)
    config = ConsConfig(num_traces=9, stop_when_decided=True)
    outcome = Driver(Cons(config), plans).run()
    assert outcome.answer == "7"
    assert outcome.ledger.launched_traces == outcome.ledger.finished_traces == 5


# --- deepprune: the paper's rules ---------------------------------------------------------------


def by_the_paper(num_traces: int, p_same: PSame, config: DeepPruneConfig) -> list[list[int]]:
    """Section 4.2.1, plainly: everything is generated and judged, nothing is stopped early."""
    clusters: list[list[int]] = []
    for sample in range(num_traces):
        if len(clusters) == config.max_clusters:
            break
        means = [sum(p_same(sample, m) for m in cluster) / len(cluster) for cluster in clusters]
        if means and max(means) > DEFAULT_TAU:
            clusters[means.index(max(means))].append(sample)
        else:
            clusters.append([sample])
    return clusters


@untimed
@given(
    plans=worlds(all_answer=True),
    judge_seed=SEEDS,
    seed=SEEDS,
    max_clusters=st.integers(1, 16),
    max_finish=st.integers(1, 20),
    wave=st.none() | st.integers(1, 40),
    at_checkpoint=st.sampled_from(["pause", "run"]),
    stop_when_decided=st.booleans(),
    is_perfect=st.booleans(),
)
def test_in_order_of_arrival_those_finish_whom_the_paper_lets_finish(
    plans,
    judge_seed,
    seed,
    max_clusters,
    max_finish,
    wave,
    at_checkpoint,
    stop_when_decided,
    is_perfect,
):
    config = everything_allowed(
        len(plans),
        max_clusters=max_clusters,
        max_finish=max_finish,
        wave=wave,
        at_checkpoint=at_checkpoint,
        stop_when_decided=stop_when_decided,
    )
    p_same = perfect(plans) if is_perfect else noisy(judge_seed)
    outcome = Driver(DeepPrune(config, seed), plans, p_same, seed, in_order=True).run()

    clusters = by_the_paper(len(plans), p_same, config)
    if all(len(cluster) == 1 for cluster in clusters):
        chosen = list(range(len(plans)))
    else:
        chosen = max(clusters, key=len)[:max_finish]
    assert outcome.answer == majority({sample: plans[sample].answer for sample in chosen})
    voters = {sample for _, group in outcome.decision.votes for sample in group}
    assert voters <= set(chosen) if stop_when_decided else voters == set(chosen)
    assert all(
        set(seen) <= set(cluster)
        for seen, cluster in zip(outcome.decision.clusters, clusters, strict=False)
    )


@untimed
@given(plans=worlds(all_answer=True), seed=SEEDS)
def test_with_a_perfect_judge_the_answer_is_that_of_the_largest_group_of_traces(plans, seed):
    config = everything_allowed(
        len(plans), max_clusters=41, max_finish=40, stop_when_decided=bool(seed % 2)
    )
    outcome = Driver(DeepPrune(config, seed), plans, perfect(plans), seed).run()
    sizes = Counter(plan.answer for plan in plans)
    assert sizes[outcome.answer] == max(sizes.values())


@untimed
@given(data=st.data(), plans=worlds(), seed=SEEDS)
def test_stopping_when_the_vote_is_decided_never_changes_the_answer(data, plans, seed):
    p_same = data.draw(judges(plans))
    judge_loss = data.draw(st.sampled_from([0, 0.02]))
    config = DeepPruneConfig(num_traces=len(plans), **data.draw(deepprune_settings()))
    full, stopped = (
        Driver(
            DeepPrune(config.model_copy(update={"stop_when_decided": stops}), seed),
            plans,
            p_same,
            seed,
            judge_loss=judge_loss,
        ).run()
        for stops in (False, True)
    )
    assert stopped.answer == full.answer
    assert stopped.decision.clusters == full.decision.clusters
    assert stopped.ledger.finished_tokens <= full.ledger.finished_tokens


@untimed
@given(
    plans=worlds(all_answer=True),
    judge_seed=SEEDS,
    seed=SEEDS,
    max_clusters=st.integers(1, 16),
    max_finish=st.integers(1, 20),
    singletons_finish=st.integers(1, 32),
)
def test_waves_never_change_which_traces_finish(
    plans, judge_seed, seed, max_clusters, max_finish, singletons_finish
):
    config = everything_allowed(
        len(plans),
        max_clusters=max_clusters,
        max_finish=max_finish,
        singletons_finish=singletons_finish,
        stop_when_decided=False,
    )
    outcomes = [
        Driver(
            DeepPrune(config.model_copy(update={"wave": wave}), seed),
            plans,
            noisy(judge_seed),
            seed,
            in_order=True,
        ).run()
        for wave in (None, 1, 3, len(plans))
    ]
    assert len({outcome.decision for outcome in outcomes}) == 1


def test_two_clusters_worked_by_hand():
    # 1 is not like 0. 2 is like 1. 3 is like 0 (0.55), and more like 1 and 2 (mean 0.6).
    table = {(1, 0): 0.2, (2, 0): 0.3, (2, 1): 0.8, (3, 0): 0.55, (3, 1): 0.4, (3, 2): 0.8}
    plans = traces("8", "9", "9", "9")
    config = everything_allowed(4)
    driver = Driver(DeepPrune(config, 0), plans, lambda a, b: table[a, b], in_order=True)
    outcome = driver.run()
    assert outcome.decision.clusters == ((0,), (1, 2, 3))
    assert outcome.answer == "9"
    assert driver.pairs_asked == {(b, a) for a, b in table}
    assert outcome.ends[0].reason == "minority"
    assert outcome.ends[0].fate is Fate.CANCELLED_AFTER_CHECKPOINT


def test_a_score_of_exactly_tau_does_not_join():
    config = everything_allowed(2, tau=0.7)
    for score, clusters in [(0.7, ((0,), (1,))), (0.71, ((0, 1),))]:
        outcome = Driver(
            DeepPrune(config, 0), traces("1", "1"), lambda a, b, score=score: score
        ).run()
        assert sorted(map(sorted, outcome.decision.clusters)) == sorted(map(list, clusters))


def test_without_a_threshold_of_its_own_the_policy_uses_that_of_appendix_c():
    assert DEFAULT_TAU == 0.5
    config = DeepPruneConfig(num_traces=2)
    for score, num_clusters in [(0.5, 2), (0.51, 1)]:
        driver = Driver(DeepPrune(config, 0), traces("1", "1"), lambda a, b, score=score: score)
        assert len(driver.run().decision.clusters) == num_clusters


def test_clustering_ends_when_k_clusters_are_open_and_nothing_is_launched_after():
    plans = traces("1", "1", "2", "3", "1", "1", "1")
    config = everything_allowed(7, max_clusters=3, wave=1)
    driver = Driver(DeepPrune(config, 0), plans, perfect(plans), in_order=True)
    outcome = driver.run()
    assert outcome.decision.clusters == ((0, 1), (2,), (3,))
    assert driver.commanded(Launch) == [0, 1, 2, 3]
    assert outcome.decision.votes == (("1", (0, 1)),)


def test_when_k_clusters_are_open_those_that_are_on_their_way_are_cancelled():
    plans = traces("1", "1", "2", "3", "1", "1", "1")
    config = everything_allowed(7, max_clusters=3, wave=7)
    outcome = Driver(DeepPrune(config, 0), plans, perfect(plans), in_order=True).run()
    assert [end.reason for end in outcome.ends] == [
        *["finished"] * 2,
        *["minority"] * 2,
        *["saturated"] * 3,
    ]


def test_only_the_first_k_star_members_of_the_largest_cluster_finish():
    plans = traces("1", *["2"] * 6)
    config = everything_allowed(7, max_finish=3, stop_when_decided=False, wave=7)
    outcome = Driver(DeepPrune(config, 0), plans, perfect(plans), in_order=True).run()
    assert outcome.decision.votes == (("2", (1, 2, 3)),)
    assert outcome.ledger.finished_traces == 3


def test_a_member_beyond_k_star_is_cancelled_as_soon_as_it_is_placed():
    plans = traces("1", "2", "2", "1", "2", "1", "1", "2")
    config = everything_allowed(8, max_finish=2, wave=1)
    driver = Driver(DeepPrune(config, 0), plans, perfect(plans), in_order=True)
    outcome = driver.run()
    redundant = [end.sample for end in outcome.ends if end.reason == "redundant"]
    assert redundant == [4, 5, 6]
    cancelled_at = driver.commands.index(Cancel(4, "redundant"))
    assert driver.commands.index(Launch(5)) > cancelled_at


def test_of_two_largest_clusters_the_older_finishes():
    plans = traces("1", "2", "2", "1")
    outcome = Driver(
        DeepPrune(everything_allowed(4), 0), plans, perfect(plans), in_order=True
    ).run()
    assert outcome.decision.clusters == ((0, 3), (1, 2))
    assert outcome.decision.votes == (("1", (0, 3)),)


def test_the_vote_is_over_answers_not_over_what_the_judge_believed():
    plans = traces("1", "2", "2")
    outcome = Driver(DeepPrune(everything_allowed(3), 0), plans, lambda a, b: 0.9).run()
    assert sorted(outcome.decision.clusters[0]) == [0, 1, 2]
    assert outcome.answer == "2"


def test_when_all_clusters_are_singletons_a_sample_of_all_traces_finishes():
    plans = traces(*map(str, range(40)))
    config = DeepPruneConfig(num_traces=40, wave=1)
    outcomes = [
        Driver(DeepPrune(config, seed), plans, lambda a, b: 0.1, in_order=True).run()
        for seed in range(3)
    ]
    for outcome in outcomes:
        assert len(outcome.decision.clusters) == 16
        assert outcome.ledger.finished_traces == 32
    drawn = [tuple(answer for answer, _ in outcome.decision.votes) for outcome in outcomes]
    assert len(set(drawn)) == 3
    assert any(int(answer) >= 16 for answer in drawn[0]), "drawn from all, launched or not"


def test_fewer_traces_than_the_sample_of_singletons_all_finish():
    plans = traces(*map(str, range(5)))
    outcome = Driver(DeepPrune(DeepPruneConfig(num_traces=5), 0), plans, lambda a, b: 0.1).run()
    assert outcome.ledger.finished_traces == 5
    assert outcome.answer == "0"


def test_one_trace_answers_for_itself():
    outcome = Driver(DeepPrune(DeepPruneConfig(num_traces=1), 0), traces("6")).run()
    assert outcome.answer == "6"


# --- deepprune: beyond the paper ----------------------------------------------------------------


def test_no_more_traces_than_a_wave_are_ahead_of_their_verdict():
    plans = traces(*["1"] * 30)
    config = everything_allowed(30, wave=3, max_finish=5)
    ahead = []

    def look(driver: Driver) -> None:
        placed = sum(map(len, driver.session.decision().clusters))
        ahead.append(len(driver.traces) - placed)

    Driver(DeepPrune(config, 0), plans, lambda a, b: 0.9, after_each_step=look).run()
    assert max(ahead) == 3


def test_a_saturated_problem_launches_no_further_waves():
    plans = traces(*["1"] * 40)
    config = everything_allowed(40, max_finish=5, wave=1)
    outcome = Driver(DeepPrune(config, 0), plans, lambda a, b: 0.9).run()
    assert outcome.ledger.launched_traces == 20  # 20 in one cluster: another 20 cannot overtake


@pytest.mark.parametrize("at_checkpoint", ["pause", "run"])
def test_a_trace_shorter_than_the_checkpoint_is_judged_whole_and_votes(at_checkpoint):
    plans = traces("1", "1", "1", "2")
    plans[1] = replace(plans[1], num_tokens=2)
    config = everything_allowed(4, at_checkpoint=at_checkpoint, stop_when_decided=False)
    driver = Driver(DeepPrune(config, 0), plans, perfect(plans), in_order=True)
    outcome = driver.run()
    assert outcome.decision.clusters == ((0, 1, 2), (3,))
    assert outcome.decision.votes == (("1", (0, 1, 2)),)
    assert 1 not in driver.commanded(Continue)


def test_a_short_trace_without_an_answer_is_excluded():
    plans = traces(None, "1", "1")
    plans[0] = replace(plans[0], num_tokens=2)
    driver = Driver(DeepPrune(everything_allowed(3), 0), plans, perfect(plans), in_order=True)
    outcome = driver.run()
    assert outcome.decision.clusters == ((1, 2),)
    assert driver.pairs_asked == {(1, 2)}


def test_a_lost_judge_costs_the_pruning_not_the_answer():
    plans = traces(*["4"] * 6)
    config = everything_allowed(6, stop_when_decided=False)
    outcome = Driver(DeepPrune(config, 0), plans, perfect(plans), judge_loss=1.0).run()
    assert outcome.answer == "4"
    assert outcome.ledger.finished_traces == 6
    assert outcome.complete


def test_a_lost_judge_leaves_no_cluster_privileged():
    policy = DeepPrune(everything_allowed(4, stop_when_decided=False), 0)
    policy.start()
    for sample in range(3):
        policy.handle(PrefixReady(sample, 4))
    policy.handle(Judged(1, {0: 0.9}))
    commands = policy.handle(JudgeLost(2))
    assert policy.decision().clusters == ((0, 1),)
    assert sorted(commands, key=str) == [Continue(0), Continue(1), Continue(2)]
    assert policy.handle(PrefixReady(3, 4)) == [Continue(3)]


def test_after_a_lost_judge_the_largest_cluster_keeps_its_share_of_the_sample():
    """Its redundant traces were cancelled; others of the cluster vote in their place."""
    shares = [_share_after_a_lost_judge(seed) for seed in range(200)]
    assert sum(shares) / 200 == pytest.approx(0.75, abs=0.03), "three in four traces say A"


def _share_after_a_lost_judge(seed: int) -> float:
    answers = ["A" if sample % 4 else f"B{sample % 8}" for sample in range(80)]
    config = DeepPruneConfig(
        num_traces=80, max_finish=10, wave=4, singletons_finish=12, stop_when_decided=False
    )
    session = Session(PROBLEM, DeepPrune(config, seed), "deepprune")
    lost, commands = False, session.start()
    while commands and not session.stopped:
        match commands.pop(0):
            case Launch(sample=sample, to_end=False):
                commands += session.handle(PrefixReady(sample, 4))
            case Launch(sample=sample) | Continue(sample=sample):
                commands += session.handle(Finished(sample, answers[sample], 10))
            case Judge(sample=sample, members=members) if not lost:
                if sample < 45:
                    same = {m: 0.99 * (answers[m] == answers[sample]) for m in members}
                    commands += session.handle(Judged(sample, same))
                else:
                    lost = True
                    commands += session.handle(JudgeLost(sample))
    assert lost and session.stopped
    votes = session.decision().votes
    return sum(len(samples) for answer, samples in votes if answer == "A") / 12


def test_a_judge_is_lost_only_once():
    policy = DeepPrune(everything_allowed(5, singletons_finish=3, stop_when_decided=False), 0)
    policy.start()
    for sample in range(5):
        policy.handle(PrefixReady(sample, 4))
    chosen = [c.sample for c in policy.handle(JudgeLost(1)) if isinstance(c, Continue)]
    assert len(chosen) == 3
    for sample in chosen:
        assert policy.handle(JudgeLost(sample)) == []


def test_after_a_lost_judge_no_more_traces_finish_than_the_vote_needs():
    plans = traces(*["4"] * 9)
    outcome = Driver(DeepPrune(everything_allowed(9), 0), plans, judge_loss=1.0).run()
    assert outcome.answer == "4"
    assert outcome.ledger.finished_traces == 5


def test_a_sample_of_all_begins_with_traces_whose_prefix_is_paid_for():
    plans = traces(*["4"] * 40)
    config = DeepPruneConfig(num_traces=40, wave=1)
    drawn, finished = (
        Driver(
            DeepPrune(config.model_copy(update={"stop_when_decided": stops}), 0),
            plans,
            lambda a, b: 0.1,
        )
        for stops in (False, True)
    )
    assert drawn.run().ledger.finished_traces == 32
    assert finished.run().ledger.finished_traces == 17  # of 32
    assert 0 < len(drawn.commanded(Continue)) < 16
    assert finished.commanded(Continue) == drawn.commanded(Continue)


def test_a_trace_at_its_checkpoint_that_was_not_placed_is_cancelled_as_saturated():
    policy = DeepPrune(everything_allowed(4, max_clusters=2), 0)
    policy.start()
    for sample in range(4):
        policy.handle(PrefixReady(sample, 4))
    policy.handle(Judged(1, {0: 0.9}))
    policy.handle(Judged(2, {0: 0.1}))
    assert policy.handle(Judged(2, {1: 0.1}))[:2] == [
        Cancel(2, "minority"),
        Cancel(3, "saturated"),
    ]


def test_a_trace_is_not_redundant_while_those_before_it_gave_no_answer():
    config = everything_allowed(8, max_finish=1, wave=1, at_checkpoint="run")
    policy = DeepPrune(config, 0)
    policy.start()
    policy.handle(PrefixReady(0, 4))
    policy.handle(PrefixReady(1, 4))
    policy.handle(Finished(0, None, 99))
    assert policy.handle(Judged(1, {0: 0.9})) == [Launch(2)]
    policy.handle(PrefixReady(2, 4))
    assert policy.handle(Judged(2, {0: 0.9, 1: 0.9})) == [Cancel(2, "redundant"), Launch(3)]


def test_traces_that_cannot_vote_do_not_settle_who_finishes():
    config = everything_allowed(3, max_finish=2, wave=1, at_checkpoint="run")
    policy = DeepPrune(config, 0)
    policy.start()
    policy.handle(PrefixReady(0, 4))
    policy.handle(PrefixReady(1, 4))
    policy.handle(Failed(0))
    assert policy.handle(Judged(1, {0: 0.9})) == [Launch(2)]
    policy.handle(Finished(1, "5", 50))
    policy.handle(PrefixReady(2, 4))
    policy.handle(Judged(2, {0: 0.9, 1: 0.9}))
    policy.handle(Finished(2, "5", 50))
    assert policy.decision().votes == (("5", (1, 2)),)


def test_no_answer_from_anybody_is_no_answer():
    plans = [replace(plan, fails_at=2) for plan in traces("1", "2", "3")]
    for policy in (Cons(ConsConfig(num_traces=3)), DeepPrune(everything_allowed(3), 0)):
        outcome = Driver(policy, plans).run()
        assert outcome.answer is None
        assert outcome.ledger.lost_traces == 3


def test_running_through_the_checkpoint_needs_no_continue():
    plans = traces("1", "1", "2")
    config = everything_allowed(3, at_checkpoint="run")
    driver = Driver(DeepPrune(config, 0), plans, perfect(plans))
    assert driver.run().answer == "1"
    assert driver.commanded(Continue) == []


def test_the_same_seed_gives_the_same_run():
    random = Random(1)
    plans = traces(*(str(random.randrange(3)) for _ in range(30)))
    config = DeepPruneConfig(num_traces=30, max_members=2, max_clusters=4, wave=5)
    runs = [
        Driver(DeepPrune(config, seed), plans, noisy(0), seed=5, judge_loss=0.01)
        for seed in (1, 1, 2)
    ]
    first, again, other = [(driver.run(), driver.commands) for driver in runs]
    assert first == again
    assert first != other


# --- finishing ----------------------------------------------------------------------------------


def test_as_many_run_at_a_time_as_could_settle_the_vote_together():
    finishing = Finishing([4, 2, 7, 1, 3], {}, stop_when_decided=True)
    assert finishing.next() == [4, 2, 7]
    finishing.ended(2, "1")
    assert finishing.next() == []
    finishing.ended(7, "2")
    assert finishing.next() == [1]
    finishing.ended(4, None)
    assert finishing.next() == [3]
    finishing.ended(1, "1")
    assert not finishing.done
    finishing.ended(3, "1")
    assert finishing.done


def test_one_that_ends_before_it_was_told_to_counts_and_starts_no_other():
    finishing = Finishing(range(7), {}, stop_when_decided=True)
    assert finishing.next() == [0, 1, 2, 3]
    finishing.ended(6, "1")
    assert finishing.next() == []
    assert finishing.runs(0)
    assert not finishing.runs(6)


def test_answers_that_are_known_already_are_counted_at_once():
    finishing = Finishing([0, 1, 2, 3, 4], {1: "5", 3: "5", 4: "5", 9: "6"}, stop_when_decided=True)
    assert finishing.done
    assert finishing.vote.groups == (("5", (1, 3, 4)),)


def test_who_was_not_chosen_cannot_vote():
    with pytest.raises(AssertionError, match="not among those chosen"):
        Finishing([0, 1], {}, stop_when_decided=False).ended(2, "1")
