from collections.abc import Iterator
from copy import deepcopy
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepprune.clustering import GreedyClustering


def clustering(
    clusters: list[list[int]] | None = None,
    *,
    tau: float = 0.5,
    max_clusters: int = 16,
    max_members: int = 20,
    seed: int = 0,
) -> GreedyClustering:
    greedy = GreedyClustering(tau, max_clusters, max_members, seed)
    greedy.clusters = deepcopy(clusters or [])
    return greedy


# --- where a trace goes -------------------------------------------------------------------------


def test_the_first_trace_opens_the_first_cluster_without_being_judged():
    greedy = clustering()
    assert greedy.members_for(5) == []
    assert greedy.place(5, {}) == 0
    assert greedy.clusters == [[5]]


def test_a_trace_joins_the_most_similar_cluster_not_the_first_above_tau():
    greedy = clustering([[0], [1], [2]])
    assert greedy.place(3, {0: 0.6, 1: 0.9, 2: 0.7}) == 1
    assert greedy.clusters == [[0], [1, 3], [2]]


def test_a_cluster_counts_by_the_mean_over_its_members_not_by_its_best():
    greedy = clustering([[0, 1, 2], [3]])
    assert greedy.place(4, {0: 0.99, 1: 0.3, 2: 0.3, 3: 0.6}) == 1


def test_p_same_must_be_strictly_above_tau():
    assert clustering([[0]]).place(1, {0: 0.5}) == 1
    assert clustering([[0]]).place(1, {0: 0.5000001}) == 0


def test_of_two_equally_similar_clusters_the_older_is_joined():
    assert clustering([[0], [1]]).place(2, {0: 0.8, 1: 0.8}) == 0


def test_a_trace_like_no_cluster_opens_a_new_one():
    greedy = clustering([[0], [1]])
    assert greedy.place(2, {0: 0.1, 1: 0.4}) == 2
    assert greedy.clusters == [[0], [1], [2]]


def test_clustering_is_closed_once_k_clusters_are_open():
    greedy = clustering(max_clusters=2)
    greedy.place(0, {})
    greedy.place(1, {0: 0.9})
    assert not greedy.closed
    greedy.place(2, {0: 0.1, 1: 0.1})
    assert greedy.closed
    with pytest.raises(AssertionError):
        greedy.place(3, {0: 0.9, 1: 0.9, 2: 0.9})


def test_the_largest_cluster_is_the_older_on_a_tie():
    assert clustering([[0], [1, 3], [2, 4]]).largest == [1, 3]
    assert clustering().largest == []


def test_singletons_are_noticed():
    assert clustering([[0], [1]]).all_singletons
    assert not clustering([[0], [1, 2]]).all_singletons


# --- who is compared ----------------------------------------------------------------------------


def test_at_most_p_members_of_each_cluster_are_compared():
    greedy = clustering([list(range(50)), list(range(50, 55))], max_members=20)
    members = greedy.members_for(99)
    assert len(members) == len(set(members)) == 25
    assert sum(member < 50 for member in members) == 20
    assert members[20:] == [50, 51, 52, 53, 54]


def test_the_compared_members_differ_from_trace_to_trace_but_not_from_run_to_run():
    def draws() -> list[list[int]]:
        greedy = clustering([list(range(50))], max_members=5, seed=3)
        return [greedy.members_for(sample) for sample in (100, 101, 102)]

    assert draws() == draws()
    assert len({tuple(draw) for draw in draws()}) == 3


def test_the_mean_is_over_the_compared_members_only():
    greedy = clustering([list(range(50))], max_members=5)
    members = greedy.members_for(99)
    assert greedy.place(99, dict.fromkeys(members, 0.9)) == 0


@st.composite
def growing(draw: st.DrawFn) -> list[tuple[int, bool]]:
    """Steps: a cluster to grow (the next one is new), and whether to ask for members after."""
    return draw(st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=40))


@given(steps=growing(), max_members=st.integers(1, 6), seed=st.integers(0, 9))
def test_a_trace_judged_ahead_keeps_its_members_and_never_has_more_than_p(steps, max_members, seed):
    greedy = clustering(max_members=max_members, seed=seed)
    asked: set[int] = set()
    for member, (cluster, asks) in enumerate([*steps, (0, True)]):
        if cluster < len(greedy.clusters):
            greedy.clusters[cluster].append(member)
        else:
            greedy.clusters.append([member])
        if asks:
            members = greedy.members_for(1000)
            assert asked <= set(members)
            asked = set(members)
            assert len(members) == len(asked)
            for opened in greedy.clusters:
                assert len(asked.intersection(opened)) == min(max_members, len(opened))
    assert greedy.members_for(1000) == greedy.members_for(1000)


def test_a_forgotten_trace_leaves_nothing_behind():
    greedy = clustering([list(range(10))], max_members=2)
    greedy.members_for(50)
    greedy.forget(50)
    greedy.forget(51)
    assert greedy.clusters == [list(range(10))]


# --- settled ------------------------------------------------------------------------------------


def finishing(clusters: list[list[int]], max_finish: int) -> list[int] | None:
    """Who finishes by the paper's rules; None stands for a random sample of all traces."""
    if all(len(cluster) == 1 for cluster in clusters):
        return None
    return max(clusters, key=len)[:max_finish]


def placements(clusters: list[list[int]], unplaced: int) -> Iterator[list[list[int]]]:
    """All clusters that can come of placing `unplaced` further traces."""
    if unplaced == 0:
        yield clusters
        return
    for index in range(len(clusters) + 1):
        grown = [*map(list, clusters), []][: max(len(clusters), index + 1)]
        grown[index].append(1000 + unplaced)
        yield from placements(grown, unplaced - 1)


def clusters_of(sizes: tuple[int, ...]) -> list[list[int]]:
    first = iter(range(100))
    return [[next(first) for _ in range(size)] for size in sizes]


SIZES = [
    sizes
    for num_clusters in range(4)
    for sizes in product(range(1, 5), repeat=num_clusters)
    if sum(sizes) <= 7
]


@pytest.mark.parametrize("max_finish", [1, 2, 3])
@pytest.mark.parametrize("unplaced", [1, 2, 3])
def test_settled_is_what_trying_every_placement_says(max_finish, unplaced):
    for sizes in SIZES:
        clusters = clusters_of(sizes)
        now = finishing(clusters, max_finish)
        unchanged = now is not None and all(
            finishing(after, max_finish) == now for after in placements(clusters, unplaced)
        )
        settled = clustering(clusters).settled(unplaced, max_finish)
        assert settled == unchanged, (sizes, now)


@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=6),
    unplaced=st.integers(0, 40),
    max_finish=st.integers(1, 25),
)
def test_settled_stays_settled_while_traces_are_placed(sizes, unplaced, max_finish):
    greedy = clustering(clusters_of(tuple(min(size, 16) for size in sizes)))
    if unplaced and greedy.settled(unplaced, max_finish):
        for index in range(len(greedy.clusters)):
            grown = clustering(greedy.clusters)
            grown.clusters[index].append(999)
            assert grown.settled(unplaced - 1, max_finish)
