"""Texts of traces in a report: which, where they were cut, and how many fit."""

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.cli import main
from jobs.render.text import limit_for, shortened, units, visible
from jobs.report.load import load_runs
from jobs.report.pages import build_pages
from jobs.report.summary import summarise
from jobs.report.trace_texts import TraceTexts
from tests.support.report_page import HOSTILE, checked, unpacked
from tests.support.sample_runs import AFTER, end, outcome, trace, write_run


def test_a_lane_knows_where_its_trace_was_cut(tmp_path):
    """A replay cut sample 1 after 4 of its 8 tokens, at its checkpoint of 4 tokens."""
    words = "🙂🙂 " * 8
    traces = [trace(1, s, words, num_tokens=8, answer=a) for s, a in enumerate(("42", "41"))]
    (tmp_path / "recorded" / "traces").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(traces), tmp_path / "recorded" / "traces" / "t.parquet")
    votes = [{"answer": "42", "count": 1, "samples": [0], "weight": 1.0}]
    ends = [end(0, 8), end(1, 4, AFTER, "redundant")]
    more = {"votes": votes, "ends": ends, "clusters": [[0, 1]], "checkpoint": "tokens:4"}
    rows = [outcome(1, "deepprune", judge="tfidf", **more)]
    run = write_run(tmp_path / "run", rows, config={"recordings": ["../recorded"]})
    runs = load_runs([run])
    settings = summarise(runs)
    (pages,) = build_pages(settings, runs, TraceTexts(runs), 10_000_000)
    assert pages.note == "All 1 texts are embedded whole."
    (data,) = unpacked(f'<script type="application/octet-stream">{pages.pages[0].packed}</script>')
    (variant,) = data["variants"]
    assert variant["never"] == 2  # of four traces, two were launched
    (group,) = variant["groups"]
    sample, tokens, whole, fate, reason, answer, text, mark, cut = group["lanes"][1]
    assert (sample, tokens, whole, fate, data["reasons"][reason]) == (1, 4, 8, 1, "redundant")
    assert data["answers"][answer] == "41"  # what it would have said
    assert data["texts"][text] == words
    assert (mark, cut) == (20, 20)  # 12 of 24 characters, 8 of them in two units
    assert group["lanes"][0][3:] == [0, 0, data["answers"].index("42"), text, 20, -1]


def test_each_outcome_has_the_texts_of_its_own_cell(tmp_path):
    """Two seeds and two settings of one policy in one live run; and a folder without cells."""
    cells = ("cons-a/0", "cons-a/1", "cons-b/0", None)
    rows = [
        outcome(1, "cons", driver="live", seed=seed, cell=cell) for seed, cell in enumerate(cells)
    ]
    traces = [
        trace(1, sample, f"{cell} {sample}", policy="cons", cell=cell)
        for cell in cells
        for sample in range(2)
    ]
    runs = load_runs([write_run(tmp_path / "run", rows, traces=traces)])
    texts = TraceTexts(runs)
    for row in runs[0].rows:
        assert [text.text for text in texts.texts(row).values()] == [
            f"{row.cell} 0",
            f"{row.cell} 1",
        ]


def test_a_run_from_before_cells_were_recorded_has_its_texts(tmp_path):
    rows = [outcome(1, "cons", driver="live")]
    traces = [trace(1, 0, "so", policy="cons")]
    run = write_run(tmp_path / "run", rows, traces=traces, drop=["cell"])
    part = run / "traces" / "t.parquet"
    pq.write_table(pq.read_table(part).drop_columns(["cell"]), part)
    (run,) = load_runs([run])
    assert TraceTexts([run]).texts(run.rows[0])[0].text == "so"


def test_megabytes_of_text_are_cut_and_that_is_said(tmp_path):
    import random

    rng = random.Random(0)
    noise = "".join(rng.choice("abcdefghijklmnopqrstuvwxyz ") for _ in range(300_000))
    texts = [noise[i:] + noise[:i] for i in range(0, 200_000, 20_000)]
    traces = [trace(1, s, text, policy="cons") for s, text in enumerate([*texts, "short"])]
    ends = [end(s, 100) for s in range(len(traces))]
    run = write_run(tmp_path / "run", [outcome(1, "cons", driver="live", ends=ends)], traces=traces)
    assert main(["report", str(run), "--max-text", "0.2"]) == 0
    text, _ = checked(run / "report.html")
    assert len(text) < 600_000
    assert "10 of 11 texts are longer than" in text
    (data,) = unpacked(text)
    kept = data["texts"][0]
    assert noise.startswith(kept["head"]) and noise.endswith(kept["tail"])
    assert len(kept["head"]) + kept["omitted"] + len(kept["tail"]) == len(noise)
    assert "short" in data["texts"]
    assert main(["report", str(run), "--max-text", "0"]) == 0


def test_recordings_that_are_gone_are_missed_by_name(tmp_path):
    run = write_run(
        tmp_path / "run", [outcome(1, "cons")], config={"recordings": ["/gone.parquet"]}
    )
    assert main(["report", str(run)]) == 0
    text, _ = checked(run / "report.html")
    assert "Without the texts of gone.parquet" in text and "No texts of traces are at hand" in text


def test_texts_keep_their_positions():
    hostile = HOSTILE + "\r\u2028\ufeff\x85"
    assert len(visible(hostile)) == len(hostile)
    assert visible("a\tb\nc") == "a\tb\nc"
    assert units("a🙂b", 2) == 3
    assert shortened("abc", 3) == "abc"
    assert shortened("abcdefghij", 5) == {"head": "abcd", "omitted": 5, "tail": "j"}
    assert shortened("a🙂b", 0) == {"head": "", "omitted": 4, "tail": ""}


def test_texts_share_a_budget():
    assert limit_for([10, 10, 10], 30) == 10
    assert limit_for([2, 100, 100], 42) == 20
    assert limit_for([5, 5], 0) == 0
    assert limit_for([], 10) == 0
