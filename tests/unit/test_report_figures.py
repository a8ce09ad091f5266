import numpy as np
import pytest

from jobs.report import bootstrap, published
from jobs.report.bootstrap import Estimate
from jobs.report.labels import Point
from jobs.report.load import load_runs
from jobs.report.pareto import front
from jobs.report.summary import summarise
from jobs.report.tables import figures, paper_form
from jobs.report.trace_texts import TraceTexts, count_pairs
from jobs.report.variants import EntryReader, labels
from jobs.report.verdict import glance
from tests.unit.report_made import outcome, trace, write_run


def settings_of(folder, rows):
    return summarise(load_runs([write_run(folder, rows)]))


def by_label(setting):
    return {summary.label: summary for summary in setting.summaries}


# --- bootstrap ------------------------------------------------------------------------------------


def test_a_constant_has_no_spread():
    assert bootstrap.mean(np.full(7, 0.25)) == Estimate(0.25, 0.25, 0.25)


def test_two_problems_of_which_one_is_right_may_be_anything():
    assert bootstrap.mean(np.array([0.0, 1.0])) == Estimate(0.5, 0.0, 1.0)


def test_the_interval_of_a_mean_is_that_of_the_normal_distribution():
    values = np.random.default_rng(1).normal(10, 2, size=400)
    estimate = bootstrap.mean(values)
    error = values.std() / 20
    assert estimate.value == pytest.approx(values.mean())
    assert estimate.low == pytest.approx(values.mean() - 1.96 * error, abs=0.2 * error)
    assert estimate.high == pytest.approx(values.mean() + 1.96 * error, abs=0.2 * error)


def test_a_paired_difference_does_not_see_how_hard_problems_are():
    hard = np.array([0.0, 0.2, 0.9, 0.5])
    estimate = bootstrap.difference(hard + 0.1, hard)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((0.1, 0.1, 0.1))


def test_a_paired_ratio_is_one_of_sums():
    tokens = np.array([100.0, 10_000.0, 50.0])
    estimate = bootstrap.ratio(tokens / 4, tokens)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((0.25, 0.25, 0.25))
    assert bootstrap.ratio(np.array([1.0, 30.0]), np.array([10.0, 90.0])).value == 0.31


def test_what_is_unknown_is_left_out():
    nan = float("nan")
    assert bootstrap.mean(np.array([nan, 3.0, nan])).value == 3.0
    assert bootstrap.mean(np.array([nan])) is None
    assert bootstrap.difference(np.array([1.0, nan]), np.array([nan, 1.0])) is None
    assert bootstrap.ratio(np.array([1.0]), np.array([0.0])) is None


def test_it_is_the_same_every_time():
    values = np.random.default_rng(2).random(30)
    first = bootstrap.mean(values)
    bootstrap.draws.cache_clear()
    assert bootstrap.mean(values) == first


# --- entries --------------------------------------------------------------------------------------


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
    (setting,) = settings_of(tmp_path / "run", rows)
    assert sorted(by_label(setting)) == sorted(
        [
            *("cons@4", "cons@8", "cons@4 (stop_when_decided)"),
            *("deepprune (tfidf)", "deepprune (judge)", "deepprune+"),
            *("adaptive", "adaptive (threshold=0.9)", "unheard of"),
        ]
    )


def test_labels_are_never_the_same_twice(tmp_path):
    rows = [outcome(1, "deepprune", judge=judge) for judge in ("a/judge", "b/judge")]
    run = load_runs([write_run(tmp_path / "run", rows)])[0]
    reader = EntryReader()
    assert len(set(labels([reader.read(row) for row in run.rows]).values())) == 2


# --- figures --------------------------------------------------------------------------------------


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
    (setting,) = settings_of(tmp_path / "run", rows)
    cons, esc = by_label(setting)["cons@4"], by_label(setting)["esc"]
    assert cons.accuracy.value == 0.75  # problem 1 half the time, problem 2 always
    assert (cons.tokens.value, cons.total_tokens) == (200, 400)
    assert (esc.accuracy.value, esc.tokens.value) == (0.75, 75)
    assert esc.versus.tokens == Estimate(0.375, pytest.approx(0.25), pytest.approx(0.5))
    assert (esc.versus.accuracy.value, esc.versus.accuracy.low, esc.versus.accuracy.high) == (
        *(0, -0.5, 0.5),
    )
    assert esc.versus.same_answer.value == 0.5
    assert esc.versus.changed == {"made/1": (1.0, 0.5), "made/2": (0.5, 1.0)}
    assert setting.notes == ()


def test_only_seeds_that_both_have_are_compared(tmp_path):
    rows = [
        outcome(1, "cons", tokens=100),
        outcome(1, "cons", tokens=900, seed=1),
        outcome(1, "esc", tokens=50),
    ]
    (setting,) = settings_of(tmp_path / "run", rows)
    assert by_label(setting)["esc"].versus.tokens.value == 0.5
    assert "Seeds differ: esc 1, the others 2" in setting.notes[0]


def test_what_is_missing_or_interrupted_is_named(tmp_path):
    rows = [
        *(outcome(p, "cons") for p in (1, 2, 3)),
        outcome(1, "esc"),
        outcome(2, "esc", complete=False, answer=None, right=None),
        outcome(3, "deepprune", judge="tfidf", num_traces=2),
        *(outcome(4, policy, reference=None, right=None) for policy in ("cons", "esc")),
    ]
    (setting,) = settings_of(tmp_path / "run", rows)
    esc = by_label(setting)["esc"]
    assert (esc.problems, esc.num_interrupted) == (("made/1", "made/4"), 1)
    notes = " ".join(setting.notes)
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
    (setting,) = summarise(load_runs([tmp_path / "a", tmp_path / "b", tmp_path / "a"]))
    found = by_label(setting)
    assert sorted(found) == ["cons@4 (a)", "cons@4 (b)", "esc (a)", "esc (b)"]
    assert found["esc (b)"].versus.baseline.run == "b"
    assert found["esc (b)"].versus.tokens.value == 0.25


def test_a_doubled_outcome_counts_once(tmp_path):
    rows = [outcome(1, "cons", tokens=100), outcome(1, "cons", tokens=300)]
    (setting,) = settings_of(tmp_path / "run", rows)
    assert by_label(setting)["cons@4"].tokens.value == 300
    assert "cons@4: 1 outcome recorded more than once" in setting.notes[0]


def test_runs_of_other_problems_add_up(tmp_path):
    write_run(tmp_path / "a", [outcome(1, "cons"), outcome(1, "esc")])
    write_run(tmp_path / "b", [outcome(2, "cons"), outcome(2, "esc")])
    (setting,) = summarise(load_runs([tmp_path / "a", tmp_path / "b"]))
    assert by_label(setting)["esc"].problems == ("made/1", "made/2")


# --- the answer at a glance -----------------------------------------------------------------------


def glance_of(folder, **entries):
    """Entries as (share of problems right out of 20, tokens)."""
    rows = []
    for policy, (right, tokens, *more) in {"cons": (16, 100), **entries}.items():
        extra = more[0] if more else {}
        name = policy.rstrip("_")
        rows += [
            outcome(p, name, right=p < right, tokens=tokens + p % 3, **extra) for p in range(20)
        ]
    (setting,) = settings_of(folder, rows)
    return glance(setting)


def test_the_cheapest_that_keeps_up_is_named(tmp_path):
    answer = glance_of(tmp_path / "run", esc=(16, 50), adaptive=(16, 20), deepprune=(10, 5))
    assert answer.verdict == "saves"
    assert answer.headline.startswith("adaptive generates 20.8% of cons@4's tokens")
    assert "right on 80.0% where cons@4 is right on 80.0%: 0.0 points" in answer.headline
    assert "The next policy that keeps up: esc" in answer.facts[0]


def test_a_judge_that_knew_the_answers_is_a_limit_and_never_the_answer(tmp_path):
    perfect = (16, 2, {"judge": "oracle"})
    answer = glance_of(tmp_path / "run", esc=(16, 50), oracle=perfect)
    assert answer.headline.startswith("esc generates")
    assert "a judge that knows the answers: oracle" in answer.facts[-1]


def test_nobody_keeps_up(tmp_path):
    answer = glance_of(tmp_path / "run", esc=(8, 50))
    assert answer.verdict == "none"
    assert answer.headline.startswith("No entry keeps up with cons@4. The cheapest, esc,")


def test_nobody_saves(tmp_path):
    answer = glance_of(tmp_path / "run", esc=(16, 150))
    assert answer.verdict == "none"
    assert answer.headline == "No entry that keeps up with cons@4 generates fewer tokens."


def test_what_the_data_does_not_settle_is_said(tmp_path):
    rows = []
    for p in range(20):
        rows.append(outcome(p, "cons", right=p < 10, tokens=100))
        rows.append(outcome(p, "esc", right=p >= 10, tokens=20 if p else 1500))
    (setting,) = settings_of(tmp_path / "run", rows)
    answer = glance(setting)
    assert answer.verdict == "open"
    assert "the interval includes 1" in answer.facts[0]
    assert "With 20 problems, a loss of up to" in answer.facts[1]


def test_without_a_baseline_nothing_is_claimed(tmp_path):
    (setting,) = settings_of(tmp_path / "run", [outcome(1, "esc")])
    assert glance(setting).verdict == "unknown"
    assert "no plain self-consistency" in glance(setting).headline


# --- plots and tables -----------------------------------------------------------------------------


def test_the_pareto_front_by_hand():
    a, b, c = Point("a", 10, 0.5), Point("b", 20, 0.7), Point("c", 30, 0.7)
    d, e = Point("d", 40, 0.6), Point("e", 50, 0.8)
    assert front([e, d, c, b, a]) == [a, b, e]
    assert front([Point("x", 10, 0.4), a]) == [a]
    assert front([]) == []


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
    table = paper_form(settings_of(tmp_path / "run", rows))
    shown = {row[0].text: [cell.text for cell in row] for row in table.rows if row[0].text}
    assert shown["DeepPrune (published)"] == ["DeepPrune (published)", "tokens", "0.26×10⁸", "–"]
    assert published.results("deepseek-ai/DeepSeek-R1-0528-Qwen3-8B", "AIME_2024", 512)
    assert not published.results("DeepSeek-R1-Distill-Llama-8B", "aime24", 512)
    assert published.pairs("DeepSeek-R1-Distill-Llama-8B").same == 61_505


def test_missing_columns_are_unknown_not_zero(tmp_path):
    drop = ("rounds", "wall_s", "judge_computed_tokens", "judge_cached_tokens", "settings", "seed")
    rows = [outcome(1, "cons", tokens=100), outcome(1, "deepprune", tokens=20, judge="x")]
    run = write_run(tmp_path / "run", rows, drop=(*drop, "complete", "votes", "ends", "driver"))
    (setting,) = summarise(load_runs([run]))
    row = figures(setting).rows[1]
    shown = dict(zip(figures(setting).headings, (cell.text for cell in row), strict=True))
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
