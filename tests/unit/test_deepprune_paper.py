"""`deepprune` by the paper's rules."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from deepprune.events import (
    Cancel,
    Launch,
)
from deepprune.ledger import Fate
from deepprune.policies import DeepPrune
from deepprune.policies.deepprune import DEFAULT_TAU
from deepprune.policy_config import DeepPruneConfig
from tests.support.memory_driver import Driver, PSame
from tests.support.policy_worlds import (
    SEEDS,
    deepprune_settings,
    everything_allowed,
    judges,
    majority,
    noisy,
    perfect,
    traces,
    untimed,
    worlds,
)


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
