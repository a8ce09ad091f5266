"""The answer at a glance, and the smaller votes and blind judges it is held against."""

import pytest

from jobs.report.controls import credit_table, smaller_table
from jobs.report.verdict import verdict_of
from tests.support.report_page import scenarios_of
from tests.support.sample_runs import end, outcome


def verdict_of_run(folder, **entries):
    """Entries as (share of problems right out of 20, tokens)."""
    rows = []
    for policy, (right, tokens, *more) in {"cons": (16, 100), **entries}.items():
        extra = more[0] if more else {}
        name = policy.rstrip("_")
        rows += [
            outcome(p, name, right=p < right, tokens=tokens + p % 3, **extra) for p in range(20)
        ]
    (scenario,) = scenarios_of(folder, rows)
    return verdict_of(scenario)


def test_the_cheapest_that_keeps_up_is_named(tmp_path):
    answer = verdict_of_run(tmp_path / "run", esc=(16, 50), adaptive=(16, 20), deepprune=(10, 5))
    assert answer.kind == "saves"
    assert answer.headline.startswith("adaptive generates 20.8% of cons@4's tokens")
    assert "right on 80.0% where cons@4 is right on 80.0%: 0.0 points" in answer.headline
    assert "The next policy that keeps up: esc" in answer.facts[0]


def test_a_judge_that_knew_the_answers_is_a_limit_and_never_the_answer(tmp_path):
    perfect = (16, 2, {"judge": "oracle"})
    answer = verdict_of_run(tmp_path / "run", esc=(16, 50), oracle=perfect)
    assert answer.headline.startswith("esc generates")
    assert "a judge that knows the answers: oracle" in answer.facts[-1]


def test_nobody_keeps_up(tmp_path):
    answer = verdict_of_run(tmp_path / "run", esc=(8, 50))
    assert answer.kind == "none"
    assert answer.headline.startswith("No variant keeps up with cons@4. The cheapest, esc,")


def test_nobody_saves(tmp_path):
    answer = verdict_of_run(tmp_path / "run", esc=(16, 150))
    assert answer.kind == "none"
    assert answer.headline == "No variant that keeps up with cons@4 generates fewer tokens."


def test_what_the_data_does_not_settle_is_said(tmp_path):
    rows = []
    for p in range(20):
        rows.append(outcome(p, "cons", right=p < 10, tokens=100))
        rows.append(outcome(p, "esc", right=p >= 10, tokens=20 if p else 1500))
    (scenario,) = scenarios_of(tmp_path / "run", rows)
    answer = verdict_of(scenario)
    assert answer.kind == "open"
    assert "the interval includes 1" in answer.facts[0]
    assert "With 20 problems, a loss of up to" in answer.facts[1]


def test_without_a_baseline_nothing_is_claimed(tmp_path):
    (scenario,) = scenarios_of(tmp_path / "run", [outcome(1, "esc")])
    assert verdict_of(scenario).kind == "unknown"
    assert "no plain self-consistency" in verdict_of(scenario).headline


def votes_of(*answers):
    """Votes and ends of traces, in order of samples, each of 100 tokens times its number."""
    samples = {answer: [i for i, a in enumerate(answers) if a == answer] for answer in answers}
    votes = [
        {"answer": answer, "count": len(of), "samples": of, "weight": float(len(of))}
        for answer, of in sorted(samples.items(), key=lambda item: (-len(item[1]), item[1]))
        if answer is not None
    ]
    ends = [end(sample, 100 * (1 + sample)) for sample in range(len(answers))]
    return {"votes": votes, "ends": ends, "answer": votes[0]["answer"], "tokens": 1000}


def test_smaller_votes_by_hand(tmp_path):
    rows = [outcome(1, "cons", **votes_of("42", "42", "41", None))]
    (scenario,) = scenarios_of(tmp_path / "run", rows)
    one, two, four = scenario.smaller.curve
    assert [vote.label for vote in (one, two, four)] == ["cons@1", "cons@2", "cons@4"]
    assert one.accuracy.value == one.same_answer.value == pytest.approx(0.5, abs=0.15)
    # Of the six pairs only 41 and None, and half of 42 and 41 (a tie), are not right.
    assert two.accuracy.value == pytest.approx(4 / 6, abs=0.15)
    assert (four.accuracy.value, four.same_answer.value) == (1, 1)
    assert [vote.tokens.value for vote in (one, two, four)] == [250, 500, 1000]
    assert one.sequential_tokens.value == pytest.approx(250, abs=40)
    assert four.sequential_tokens.value == 400
    assert scenario.smaller.at(0.3) is one and scenario.smaller.at(1.7) is four
    shown = [row[0].text for row in smaller_table(scenario).rows]
    assert shown == ["cons@1", "cons@2", "cons@4"]


def test_the_verdict_says_what_a_smaller_vote_of_equal_tokens_gives(tmp_path):
    rows = []
    for p in range(20):
        hard = p % 2
        answers = ("42", "42", "41", "41") if hard else ("42",) * 4
        rows += [
            outcome(p, "cons", **votes_of(*answers)),
            outcome(p, "esc", tokens=250),
        ]
    (scenario,) = scenarios_of(tmp_path / "run", rows)
    fact = verdict_of(scenario).facts[0]
    assert fact.startswith("A plain vote of about as many tokens, cons@1, is right on 7")
    assert fact.endswith("esc is right on 100.0% and gives it on 100.0%.")


def test_a_judge_is_credited_against_a_blind_one_and_none(tmp_path):
    rows = []
    for p in range(20):
        rows += [
            outcome(p, "cons", tokens=1000),
            outcome(p, "deepprune", tokens=300 + p % 3, judge="features"),
            outcome(p, "deepprune", tokens=300 + (p + 1) % 3, judge="blind"),
            outcome(p, "deepprune+", tokens=100 + p % 3, judge="features"),
            outcome(p, "deepprune+", tokens=200 + p % 3),
            outcome(p, "deepprune+", tokens=90 + p % 3, judge="blind"),
        ]
    (scenario,) = scenarios_of(tmp_path / "run", rows)
    found = {(row[0].text, row[1].text): row[4].text for row in credit_table(scenario).rows}
    assert found == {
        ("deepprune (features)", "deepprune (blind)"): "not told apart",
        ("deepprune+ (features)", "deepprune+ (no judge)"): "fewer tokens",
        ("deepprune+ (features)", "deepprune+ (blind)"): "more tokens",
    }
    answer = verdict_of(scenario)
    assert answer.pick.label == "deepprune+ (features)", "a blind judge is no candidate"
    (beside, _) = [fact for fact in answer.facts if fact.startswith("Beside")]
    assert "Beside deepprune+ (no judge), its judge makes a difference: fewer tokens" in beside
