from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepprune.voting import Vote, group_answers

BALLOTS = st.lists(st.sampled_from(["1", "2", "3", None]), max_size=12)


def count(ballots: list[str | None]) -> Vote:
    vote = Vote()
    for sample, answer in enumerate(ballots):
        vote.add(sample, answer)
    return vote


def test_the_answer_with_the_most_votes_wins():
    vote = count(["7", "3", "3", "7", "3"])
    assert vote.answer == "3"
    assert vote.groups == (("3", (1, 2, 4)), ("7", (0, 3)))


def test_nobody_wins_before_the_first_vote():
    vote = count([])
    assert vote.answer is None
    assert vote.groups == ()


def test_no_answer_is_no_vote_however_often_it_is_given():
    assert count([None, None, "5", None]).groups == (("5", (2,)),)
    assert count([None, None]).answer is None


def test_answers_that_are_mathematically_equal_are_one_answer():
    vote = Vote()
    for sample, answer in enumerate(["4", "0.5", "4", "\\frac{1}{2}", "1/2"]):
        vote.add(sample, answer)
    assert vote.groups == (("0.5", (1, 3, 4)), ("4", (0, 2)))


def test_a_tie_goes_to_the_answer_of_the_earliest_sample():
    assert count(["a", "b", "b", "a"]).answer == "a"
    assert count(["c", "b", "a", "b", "a"]).answer == "b"


@given(ballots=BALLOTS, order=st.randoms(use_true_random=False))
def test_the_order_in_which_votes_come_in_does_not_change_the_answer(ballots, order):
    shuffled = list(enumerate(ballots))
    order.shuffle(shuffled)
    vote = Vote()
    for sample, answer in shuffled:
        vote.add(sample, answer)
    assert vote.answer == count(ballots).answer
    assert {(answer, frozenset(samples)) for answer, samples in vote.groups} == {
        (answer, frozenset(samples)) for answer, samples in count(ballots).groups
    }


@given(ballots=BALLOTS)
def test_every_vote_is_in_one_group_and_groups_come_most_votes_first(ballots):
    groups = count(ballots).groups
    assert sorted(sample for _, samples in groups for sample in samples) == [
        sample for sample, answer in enumerate(ballots) if answer is not None
    ]
    sizes = [len(samples) for _, samples in groups]
    assert sizes == sorted(sizes, reverse=True)


# --- needed -------------------------------------------------------------------------------------


def is_decided(ballots: list[str | None], remaining: int) -> bool:
    """Try all that the remaining voters may say: does the leader always end strictly ahead?"""
    if remaining == 0:
        return True
    leader = count(ballots).answer
    for rest in product([None, "1", "2", "3", "new"], repeat=remaining):
        sizes = {answer: len(samples) for answer, samples in count([*ballots, *rest]).groups}
        lead = sizes.pop(leader, 0)
        if lead <= max(sizes.values(), default=0):
            return False
    return True


def fewest_that_decide(ballots: list[str | None], remaining: int) -> int:
    """Try all groups of agreeing voters: how few can settle the vote?"""
    return next(
        agreeing
        for agreeing in range(remaining + 1)
        if any(
            is_decided(ballots + [answer] * agreeing, remaining - agreeing)
            for answer in ("1", "2", "3")
        )
    )


@pytest.mark.parametrize("remaining", range(5))
@pytest.mark.parametrize("sizes", [c for c in product(range(4), repeat=3) if c[0] >= c[1] >= c[2]])
def test_needed_is_what_trying_every_possible_vote_says(sizes, remaining):
    ballots: list[str | None] = ["1"] * sizes[0] + ["2"] * sizes[1] + ["3"] * sizes[2]
    assert count(ballots).needed(remaining) == fewest_that_decide(ballots, remaining)


def test_with_no_vote_in_yet_a_majority_is_needed():
    assert [Vote().needed(remaining) for remaining in range(7)] == [0, 1, 2, 2, 3, 3, 4]


def test_a_possible_tie_is_not_decided():
    assert count(["1", "1", "2"]).needed(1) == 1
    assert count(["1", "1", "1", "2"]).needed(1) == 0


@given(ballots=BALLOTS, rest=BALLOTS)
def test_a_decided_vote_stays_as_it_is(ballots, rest):
    vote = count(ballots)
    if vote.needed(len(rest)) == 0:
        assert count(ballots + rest).answer == vote.answer


@given(ballots=BALLOTS, remaining=st.integers(0, 600))
def test_never_more_voters_are_needed_than_remain(ballots, remaining):
    assert 0 <= count(ballots).needed(remaining) <= remaining


UNITS = st.lists(
    st.sampled_from(["5", "5 hours", "5 minutes", "x=5", "10", r"10\%", "0.1", "1/2", "0.5", None]),
    max_size=12,
)


@given(ballots=UNITS, order=st.randoms(use_true_random=False))
def test_answers_that_leave_out_what_others_say_are_grouped_the_same_in_every_order(ballots, order):
    shuffled = list(enumerate(ballots))
    order.shuffle(shuffled)
    vote = Vote()
    sizes = [0, 0]
    for sample, answer in shuffled:
        vote.add(sample, answer)
        before, sizes = sizes, sorted((len(samples) for _, samples in vote.groups), reverse=True)
        grown = [a - b for a, b in zip([*sizes, 0], [*before, 0, 0], strict=False)]
        assert grown.count(1) == (answer is not None) and set(grown) <= {0, 1}
    assert vote.groups == count(ballots).groups


def test_an_answer_without_a_unit_is_with_the_unit_that_most_give():
    vote = count(["5", "5 hours", "5 minutes", "5 hours", "5"])
    assert vote.groups == (("5", (0, 1, 3, 4)), ("5 minutes", (2,)))


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4), (2, 3, 4, 0, 1), (4, 0, 1, 2, 3)])
def test_a_percentage_elects_the_same_answer_in_every_order(order):
    answers = ["10", "10", "0.1", "0.1", r"10\%"]
    vote = Vote()
    for sample in order:
        vote.add(sample, answers[sample])
    assert vote.groups == (("10", (0, 1, 4)), ("0.1", (2, 3)))


def test_an_empty_answer_is_no_answer():
    assert count(["", "  ", "", "42"]).groups == (("42", (3,)),)


def test_answers_are_grouped_as_in_their_vote():
    assert group_answers(["7", "1/2", None, "0.5", "x=7", ""]) == [0, 1, None, 1, 0, None]
