from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from deepprune import belief
from deepprune.belief import Standing, expected_worth, fewest_votes, p_ahead
from deepprune.promise import Terms
from deepprune.split_prior import shipped

untimed = settings(deadline=None, max_examples=60)
counts = st.integers(0, 60)
TERMS = Terms(0.1, np.array(shipped()))


def standing(
    cast: np.ndarray, likelihoods: np.ndarray, unseen: float, leader: int | None = None
) -> Standing:
    return belief.standing(cast, likelihoods, unseen, TERMS, leader)


def votes(*numbers: float) -> np.ndarray:
    return np.array(numbers, dtype=np.float64)


def silence(prefixes: int, clusters: int) -> np.ndarray:
    """What a judge that knows nothing says of so many prefixes."""
    return np.ones((prefixes, clusters + 1))


@st.composite
def situations(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int]:
    clusters = draw(st.integers(1, 4))
    cast = draw(arrays(np.float64, clusters, elements=st.integers(0, 12).map(float)))
    likelihoods = draw(
        arrays(
            np.float64,
            (draw(st.integers(0, 8)), clusters + 1),
            elements=st.sampled_from([0.02, 0.1, 0.5, 1.0, 3.0, 20.0, 50.0]),
        )
    )
    return cast, likelihoods, draw(st.sampled_from([0, 1, 5, 40, 500]))


# --- votes alone --------------------------------------------------------------------------------


@untimed
@given(leader=counts, runner_up=counts)
def test_p_ahead_is_the_tail_of_the_beta_distribution(leader, runner_up):
    expected = stats.beta.sf(0.5, leader + 1, runner_up + 1)
    assert p_ahead(leader, runner_up) == pytest.approx(expected, abs=1e-12)
    assert p_ahead(leader, runner_up) + p_ahead(runner_up, leader) == pytest.approx(1)


@untimed
@given(leader=counts, runner_up=counts, threshold=st.floats(0.5, 0.999))
def test_fewest_votes_is_enough_and_one_less_is_not(leader, runner_up, threshold):
    enough = fewest_votes(leader, runner_up, threshold)
    assert p_ahead(leader + enough, runner_up) > threshold
    assert enough == 1 or p_ahead(leader + enough - 1, runner_up) <= threshold


def test_the_closest_rival_is_the_runner_up_or_an_answer_not_seen_yet():
    assert standing(votes(5, 1, 3), silence(0, 3), 50).rival == 2
    assert standing(votes(5), silence(0, 1), 50).rival is None


@untimed
@given(lead=st.integers(0, 30), rest=st.integers(0, 30))
def test_when_all_have_voted_the_vote_is_certain(lead, rest):
    now = standing(votes(lead + rest + 1, rest), silence(0, 2), 0)
    assert now.leader == 0
    assert now.p_leads == pytest.approx(1)
    behind = standing(votes(lead + rest + 1, rest), silence(0, 2), 0, leader=1)
    assert behind.p_leads == pytest.approx(0, abs=1e-9)
    tie = standing(votes(rest + 1, rest + 1), silence(0, 2), 0)
    assert tie.p_leads == pytest.approx(0.5)


def test_a_lead_that_the_unseen_cannot_make_up_for_is_all_but_certain():
    assert standing(votes(40, 20), silence(0, 2), 10).p_leads > 0.9999


# --- evidence -----------------------------------------------------------------------------------


@untimed
@given(situation=situations(), prefixes=st.integers(1, 20))
def test_prefixes_of_which_a_judge_knows_nothing_are_as_good_as_unseen(situation, prefixes):
    cast, _, unseen = situation
    without = standing(cast, silence(0, len(cast)), unseen + prefixes)
    useless = standing(cast, silence(prefixes, len(cast)), unseen, without.leader)
    assert useless.p_leads == pytest.approx(without.p_leads, abs=1e-9)
    assert useless.mass.sum() == pytest.approx(without.mass.sum() + prefixes)


@pytest.mark.parametrize("prefixes", [1, 5, 20])
def test_prefixes_that_are_surely_of_a_cluster_are_its_votes(prefixes):
    sure = np.tile([1e6, 1.0, 1.0], (prefixes, 1))
    judged = standing(votes(1, 1), sure, 30)
    counted = standing(votes(1 + prefixes, 1), silence(0, 2), 30)
    assert judged.p_leads == pytest.approx(counted.p_leads, abs=5e-3)
    assert judged.mass == pytest.approx(counted.mass, abs=1e-2)


def test_evidence_for_the_leader_helps_it_and_for_the_rival_does_not():
    nothing, ours, theirs = (
        standing(votes(3, 2), np.array([row]), 30, leader=0).p_leads
        for row in ([1.0, 1.0, 1.0], [5.0, 1.0, 1.0], [1.0, 5.0, 1.0])
    )
    assert theirs < nothing < ours


def test_prefixes_that_are_surely_none_of_the_clusters_make_the_lead_less_safe():
    none_of_them = np.tile([1.0, 1.0, 1e6], (4, 1))
    now = standing(votes(3, 1), none_of_them, 30)
    assert now.rival is None
    assert now.p_leads < standing(votes(3, 1), silence(0, 2), 34).p_leads
    assert now.mass[-1] == pytest.approx(4, abs=0.01)


def test_who_leads_is_decided_by_votes_and_evidence_together():
    sure = np.tile([1.0, 1e6, 1.0], (5, 1))
    now = standing(votes(3, 0), sure, 30)
    assert (now.leader, now.rival) == (1, 0)


@untimed
@given(situation=situations(), data=st.data())
def test_neither_the_order_of_prefixes_nor_of_clusters_nor_the_scale_of_a_row_matters(
    situation, data
):
    cast, likelihoods, unseen = situation
    now = standing(cast, likelihoods, unseen)
    order = data.draw(st.permutations(range(len(likelihoods))))
    assert standing(cast, likelihoods[list(order)], unseen).p_leads == pytest.approx(now.p_leads)
    scale = data.draw(arrays(np.float64, (len(likelihoods), 1), elements=st.floats(1e-3, 1e3)))
    scaled = standing(cast, likelihoods * scale, unseen)
    assert scaled.p_leads == pytest.approx(now.p_leads)
    assert scaled.mass == pytest.approx(now.mass)
    clusters = list(data.draw(st.permutations(range(len(cast)))))
    moved = standing(
        cast[clusters],
        likelihoods[:, [*clusters, len(cast)]],
        unseen,
        leader=clusters.index(now.leader),
    )
    assert moved.p_leads == pytest.approx(now.p_leads)
    assert moved.mass[:-1] == pytest.approx(now.mass[clusters])


@untimed
@given(situation=situations())
def test_it_is_a_probability_and_the_mass_is_that_of_all_traces_seen(situation):
    cast, likelihoods, unseen = situation
    now = standing(cast, likelihoods, unseen)
    assert 0 <= now.p_leads <= 1
    assert now.p_judged == now.p_leads
    assert np.all(now.mass >= 0)
    assert now.mass.sum() == pytest.approx(cast.sum() + len(likelihoods))
    assert now.mass[now.leader] == pytest.approx(now.mass[:-1].max())


@untimed
@given(situation=situations())
def test_one_more_vote_never_makes_the_leader_less_safe(situation):
    cast, likelihoods, unseen = situation
    now = standing(cast, likelihoods, unseen)
    cast[now.leader] += 1
    more = standing(cast, likelihoods, unseen, now.leader)
    assert more.p_leads >= now.p_leads - 1e-3


def test_what_is_held_safe_with_a_calibrated_judge_is_right_about_as_often():
    """Two answers, a few votes, and prefixes judged with known error; nothing more to come."""
    rng = np.random.default_rng(7)
    ratio, claimed, right = 3.0, [], []
    for truth in 80 * (0.5, 0.6, 0.75, 0.9, 0.97):
        ours = rng.random(24) < truth
        said = np.where(rng.random(21) < ratio / (ratio + 1), ours[3:], ~ours[3:])
        likelihoods = np.where(said[:, None], [ratio, 1.0, 0.02], [1.0, ratio, 0.02])
        cast = votes(ours[:3].sum(), 3 - ours[:3].sum())
        now = standing(cast, likelihoods, 0)
        if 2 * ours.sum() != 24:
            claimed.append(now.p_leads)
            right.append((ours.sum() > 12) == (now.leader == 0))
    assert np.mean(claimed) == pytest.approx(np.mean(right), abs=0.06)


# --- what a judge is worth ----------------------------------------------------------------------


def test_a_comparison_is_worth_nothing_from_chance_and_a_vote_from_certainty():
    assert expected_worth(0.5) == 0
    assert expected_worth(0.4) == 0
    assert expected_worth(1.0) > 0.95
    worths = [expected_worth(auroc) for auroc in (0.5, 0.6, 0.7, 0.8, 0.9, 0.99)]
    assert worths == sorted(worths)
