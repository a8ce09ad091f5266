"""Figures of a report, by hand."""

import pytest

from deepprune.statistics import Estimate
from jobs.report import published
from jobs.report.load import load_runs
from jobs.report.pareto import Point, draw_pareto, front
from jobs.report.summary import summarise
from jobs.report.tables import figures, paper_form
from jobs.report.trace_texts import TraceTexts, count_pairs
from jobs.report.variants import labels, variant_of
from tests.support.report_page import scenarios_of
from tests.support.sample_runs import outcome, realistic, trace, write_run


def by_label(scenario):
    return {summary.label: summary for summary in scenario.summaries}


def test_labels_show_what_differs_within_a_policy(tmp_path):
    rows = [
        outcome(1, "cons"),
        outcome(1, "cons", num_traces=8),
        outcome(1, "cons", settings={"stop_when_decided": True}),
        outcome(1, "deepprune", judge="tfidf", tau=0.5, checkpoint="tokens:500"),
        outcome(1, "deepprune", judge="models/deep/judge", tau=0.5, checkpoint="tokens:500"),
        outcome(1, "deepprune+", judge="tfidf", checkpoint="tokens:500"),
        outcome(1, "adaptive", settings={"threshold": 0.95}),
        outcome(1, "adaptive", settings={"threshold": 0.9}),
        outcome(1, "unheard of", settings={"x": [1, 2]}),
    ]
    (scenario,) = scenarios_of(tmp_path / "run", rows)
    assert sorted(by_label(scenario)) == sorted(
        [
            *("cons@4", "cons@8", "cons@4 (stop_when_decided)"),
            *("deepprune (tfidf)", "deepprune (judge)", "deepprune+"),
            *("adaptive", "adaptive (threshold=0.9)", "unheard of"),
        ]
    )


def test_labels_are_never_the_same_twice(tmp_path):
    rows = [outcome(1, "deepprune", judge=judge) for judge in ("a/judge", "b/judge")]
    run = load_runs([write_run(tmp_path / "run", rows)])[0]
    assert len(set(labels([variant_of(row) for row in run.rows]).values())) == 2


def test_figures_by_hand(tmp_path):
    rows = [
        outcome(1, "cons", tokens=100),
        outcome(1, "cons", tokens=300, seed=1, right=False),
        outcome(2, "cons", tokens=200),
        outcome(2, "cons", tokens=200, seed=1),
        outcome(1, "esc", tokens=50),
        outcome(1, "esc", tokens=50, seed=1),
        outcome(2, "esc", tokens=100),
        outcome(2, "esc", tokens=100, seed=1, right=False),
    ]
    (scenario,) = scenarios_of(tmp_path / "run", rows)
    cons, esc = by_label(scenario)["cons@4"], by_label(scenario)["esc"]
    assert cons.accuracy.value == 0.75  # problem 1 half the time, problem 2 always
    assert (cons.tokens.value, cons.total_tokens) == (200, 400)
    assert (esc.accuracy.value, esc.tokens.value) == (0.75, 75)
    assert esc.comparison.tokens == Estimate(0.375, pytest.approx(0.25), pytest.approx(0.5))
    assert (
        esc.comparison.accuracy.value,
        esc.comparison.accuracy.low,
        esc.comparison.accuracy.high,
    ) == (*(0, -0.5, 0.5),)
    assert esc.comparison.same_answer.value == 0.5
    assert esc.comparison.changed == {"made/1": (1.0, 0.5), "made/2": (0.5, 1.0)}
    assert scenario.notes == ()


def test_only_seeds_that_both_have_are_compared(tmp_path):
    rows = [
        outcome(1, "cons", tokens=100),
        outcome(1, "cons", tokens=900, seed=1),
        outcome(1, "esc", tokens=50),
    ]
    (scenario,) = scenarios_of(tmp_path / "run", rows)
    assert by_label(scenario)["esc"].comparison.tokens.value == 0.5
    assert "Seeds differ: esc 1, the others 2" in scenario.notes[0]


def test_variants_without_a_common_seed_are_compared_on_their_problems(tmp_path):
    """As in the demo, whose second policy draws traces of its own."""
    rows = [
        *(outcome(p, "cons", tokens=100) for p in (1, 2)),
        *(outcome(p, "esc", tokens=25, seed=1) for p in (1, 2)),
    ]
    (scenario,) = scenarios_of(tmp_path / "run", rows)
    esc = by_label(scenario)["esc"]
    assert esc.token_share == Estimate(0.25, 0.25, 0.25)
    assert esc.comparison.num_problems == 2 and esc.comparison.same_answer.value == 1
    assert "With other seeds than cons" in scenario.notes[0] and "esc" in scenario.notes[0]


def test_what_is_missing_or_interrupted_is_named(tmp_path):
    rows = [
        *(outcome(p, "cons") for p in (1, 2, 3)),
        outcome(1, "esc"),
        outcome(2, "esc", complete=False, answer=None, right=None),
        outcome(3, "deepprune", judge="tfidf", num_traces=2),
        *(outcome(4, policy, reference=None, right=None) for policy in ("cons", "esc")),
    ]
    (scenario,) = scenarios_of(tmp_path / "run", rows)
    esc = by_label(scenario)["esc"]
    assert (esc.problems, esc.num_interrupted) == (("made/1", "made/4"), 1)
    notes = " ".join(scenario.notes)
    assert "esc lacks 2 of 4 problems" in notes and "Missing: made/2, made/3." in notes
    assert "deepprune lacks 3 of 4 problems" in notes
    assert "esc: 1 outcome interrupted before the vote" in notes and "(made/2)" in notes
    assert "1 problem without a reference answer" in notes and "made/4" in notes
    assert "compared with nothing: deepprune" in notes  # there is no cons@2
    assert esc.accuracy == Estimate(1.0, 1.0, 1.0)


def test_the_same_outcome_in_two_runs_makes_two_entries(tmp_path):
    """And each is compared with the baseline of its own run."""
    for name, tokens in (("a", 100), ("b", 200)):
        write_run(
            tmp_path / name,
            [outcome(1, "cons", tokens=4 * tokens), outcome(1, "esc", tokens=tokens)],
        )
    (scenario,) = summarise(load_runs([tmp_path / "a", tmp_path / "b", tmp_path / "a"]))
    found = by_label(scenario)
    assert sorted(found) == ["cons@4 (a)", "cons@4 (b)", "esc (a)", "esc (b)"]
    assert found["esc (b)"].comparison.baseline.run == "b"
    assert found["esc (b)"].comparison.tokens.value == 0.25


def test_a_doubled_outcome_counts_once(tmp_path):
    rows = [outcome(1, "cons", tokens=100), outcome(1, "cons", tokens=300)]
    (scenario,) = scenarios_of(tmp_path / "run", rows)
    assert by_label(scenario)["cons@4"].tokens.value == 300
    assert "cons@4: 1 outcome recorded more than once" in scenario.notes[0]


def test_runs_of_other_problems_add_up(tmp_path):
    write_run(tmp_path / "a", [outcome(1, "cons"), outcome(1, "esc")])
    write_run(tmp_path / "b", [outcome(2, "cons"), outcome(2, "esc")])
    (scenario,) = summarise(load_runs([tmp_path / "a", tmp_path / "b"]))
    assert by_label(scenario)["esc"].problems == ("made/1", "made/2")


def test_the_pareto_front_by_hand():
    a, b, c = Point("a", 10, 0.5), Point("b", 20, 0.7), Point("c", 30, 0.7)
    d, e = Point("d", 40, 0.6), Point("e", 50, 0.8)
    assert front([e, d, c, b, a]) == [a, b, e]
    assert front([Point("x", 10, 0.4), a]) == [a]
    assert front([]) == []


def test_every_vote_is_within_the_plot(tmp_path):
    (scenario,) = summarise(load_runs([realistic(tmp_path / "run", num_problems=3)]))
    (axes,) = draw_pareto(scenario).axes
    for vote in scenario.smaller.curve:
        assert axes.get_xlim()[0] < vote.tokens.value < axes.get_xlim()[1]
        assert axes.get_ylim()[0] < vote.accuracy.value < axes.get_ylim()[1]


def test_the_papers_numbers_are_typed_in_consistently():
    """Each published change is that of the published tokens, as far as these were rounded."""
    plain = {(r.model, r.benchmark): r for r in published.TABLE_2 if r.row == "cons@512"}
    daggers = {(r.model, r.benchmark): r for r in published.TABLE_2 if r.row == "cons@512†"}
    for result in published.TABLE_2:
        base = (daggers if result.row.endswith("†") else plain)[result.model, result.benchmark]
        if result.change is not None:
            assert result.tokens / base.tokens - 1 == pytest.approx(result.change, abs=0.012)
    assert len(published.TABLE_2) == 41
    assert sum(row.pairs for row in published.TABLE_4) == 120_215
    assert sum(row.same for row in published.TABLE_4) == 98_139


def test_published_numbers_stand_where_model_benchmark_and_size_match(tmp_path):
    model = "Qwen/Qwen3-32B"
    rows = [
        outcome(1, policy, num_traces=n, model=model, benchmark=benchmark)
        for policy in ("cons", "deepprune")
        for n, benchmark in ((512, "aime24"), (64, "aime25"))
    ]
    table = paper_form(scenarios_of(tmp_path / "run", rows))
    shown = {row[0].text: [cell.text for cell in row] for row in table.rows if row[0].text}
    assert shown["DeepPrune (published)"] == ["DeepPrune (published)", "tokens", "0.26×10⁸", "–"]
    assert published.results("deepseek-ai/DeepSeek-R1-0528-Qwen3-8B", "AIME_2024", {512})
    assert not published.results("DeepSeek-R1-Distill-Llama-8B", "aime24", {512})
    assert published.pairs("DeepSeek-R1-Distill-Llama-8B").same == 61_505


def test_missing_columns_are_unknown_not_zero(tmp_path):
    drop = ("rounds", "wall_s", "judge_computed_tokens", "judge_cached_tokens", "settings", "seed")
    rows = [outcome(1, "cons", tokens=100), outcome(1, "deepprune", tokens=20, judge="x")]
    run = write_run(tmp_path / "run", rows, drop=(*drop, "complete", "votes", "ends", "driver"))
    (scenario,) = summarise(load_runs([run]))
    row = figures(scenario).rows[1]
    shown = dict(zip(figures(scenario).headings, (cell.text for cell in row), strict=True))
    assert shown["Δ tokens"] == "−80.0%"
    assert (shown["rounds"], shown["time"], shown["judge tokens"]) == ("–", "–", "–")


def test_pairs_by_hand(tmp_path):
    """Votes say that 1/2 and 0.5 are one answer; a trace without an answer is in no pair."""
    answers = ["1/2", "0.5", "3", None]
    votes = [
        {"answer": "1/2", "count": 2, "samples": [0, 1], "weight": 2.0},
        {"answer": "3", "count": 1, "samples": [2], "weight": 1.0},
    ]
    rows = [
        outcome(1, "cons", driver="live", votes=votes),
        outcome(1, "deepprune", driver="live", judge="tfidf"),
    ]
    traces = [trace(1, s, "so", policy="cons", answer=a) for s, a in enumerate(answers)]
    traces += [trace(1, s, "so", policy="deepprune") for s in range(4)]
    runs = load_runs([write_run(tmp_path / "run", rows, traces=traces)])
    (pairs,) = count_pairs(runs, TraceTexts(runs))
    assert (pairs.num_problems, pairs.pairs, pairs.same) == (1, 3, 1)
