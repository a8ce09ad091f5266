import base64
import gzip
import json
import re
import warnings
from html.parser import HTMLParser
from importlib.resources import files

import matplotlib.image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepprune.errors import UserError
from jobs.cli import main
from jobs.render.table import Cell, Table
from jobs.render.text import limit_for, shortened, units, visible
from jobs.render.theme import OTHER_COLOUR, PALETTE
from jobs.report.load import load_runs
from jobs.report.pages import build_pages
from jobs.report.summary import summarise
from jobs.report.trace_texts import TraceTexts
from tests.support.sample_runs import AFTER, end, outcome, realistic, trace, write_run

HOSTILE = (
    "</script><img src=x onerror=alert(1)>\0 \u202egnp.exe\u2066 {{main}} 🙂 \x1b[31m ]]> <!--"
)


class Page(HTMLParser):
    """What matters about a page's markup."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.tags, self.urls, self.open, self.text = [], [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        found = dict(attrs)
        self.ids += [found["id"]] if "id" in found else []
        self.urls += [v for n, v in attrs if n in ("src", "href", "srcset", "action", "data")]
        assert not [name for name, _ in attrs if name.startswith("on")]
        if tag not in ("meta", "img", "br", "link", "input"):
            self.open.append(tag)
        if tag == "img":
            assert found["alt"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def checked(path):
    """The page in a file, which must be whole, and refer to nothing outside."""
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert all(url.startswith(("#", "data:image/svg+xml;base64,")) for url in page.urls)
    targets = {url[1:] for url in page.urls if url.startswith("#")}
    assert targets <= set(page.ids)
    assert not re.search(r"@import|url\(|<link|<iframe|fetch\(|XMLHttpRequest", text)
    assert "default-src 'none'" in text
    return text, page


def unpacked(text):
    """The data of all problem pages."""
    blobs = re.findall(r'<script type="application/octet-stream">([A-Za-z0-9+/=]+)</script>', text)
    return [json.loads(gzip.decompress(base64.b64decode(blob))) for blob in blobs]


def test_a_whole_report(tmp_path, capsys):
    run = realistic(tmp_path / "run")
    assert main(["report", str(run), "--markdown", str(tmp_path / "papers" / "r.md")]) == 0
    text, page = checked(run / "report.html")
    headline = capsys.readouterr().out
    assert "cons@16" in headline and headline.count("\n") == 1
    for name in ("pareto", "fates", "judge-curve", "clusters"):
        assert matplotlib.image.imread(run / f"{name}.png").std() > 0.03
    assert {"main", "nav", "header", "footer", "noscript", "caption", "dialog"} <= set(page.tags)
    assert len(unpacked(text)) == 12
    written = (tmp_path / "papers" / "r.md").read_text()
    assert "Table 2" in written and "## Bill" in written and "| total pairs |" in written


def test_it_is_the_same_every_time(tmp_path):
    run = realistic(tmp_path / "run", num_problems=3)
    for name in ("a", "b"):
        assert main(["report", str(run), "--out", str(tmp_path / name)]) == 0
    first, second = ((tmp_path / name / "report.html").read_bytes() for name in ("a", "b"))
    assert first == second


def test_several_runs_and_settings(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, model in (("a", "x/one"), ("b", "two")):
        rows = [outcome(p, policy, model=model) for p in (1, 2) for policy in ("cons", "esc")]
        write_run(tmp_path / name, rows)
    assert main(["report", "a", "b"]) == 0
    (folder,) = (tmp_path / "runs").iterdir()
    text, _ = checked(folder / "report.html")
    assert "a holds no traces" in text and "2 models, 1 benchmark" in text
    assert len(list(folder.glob("pareto-*.png"))) == 2
    assert capsys.readouterr().out.count("\n") == 2


def test_nothing_from_outside_acts_in_the_page(tmp_path):
    rows = [
        outcome(
            HOSTILE,
            policy,
            answer=HOSTILE,
            reference=HOSTILE,
            model=HOSTILE,
            judge=HOSTILE,
            settings={HOSTILE: HOSTILE},
            driver="live",
            ends=[end(0, 9, AFTER, HOSTILE)],
        )
        for policy in ("cons", "deepprune", HOSTILE)
    ]
    traces = [
        trace(HOSTILE, 0, HOSTILE * 3, policy="deepprune", model=HOSTILE),
        trace(HOSTILE, 0, "$\\frac{", policy="cons", model=HOSTILE, answer="$"),
    ]
    traces = [row | {"problem": HOSTILE} for row in traces]
    run = write_run(tmp_path / "run", rows, traces=traces)
    with warnings.catch_warnings(action="error"):
        assert main(["report", str(run), "--markdown", str(tmp_path / "r.md")]) == 0
    text, page = checked(run / "report.html")
    assert page.tags.count("script") == 2  # the page's own, and one packed problem
    assert all(tag not in ("x", "alert") for tag in page.tags)
    assert page.tags.count("img") == text.count('<img src="data:')
    for written in (text, (tmp_path / "r.md").read_text()):
        assert not set(written) & set("\0\x1b\u202e\u2066")
    assert page.tags.count("main") == 1
    (data,) = unpacked(text)
    assert "</script>" in data["problem"] and "␀" in data["problem"]
    assert any("🙂" in text for text in data["texts"])


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


def test_what_is_no_run_is_refused_in_one_line(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    no_outcomes = write_run(tmp_path / "nothing", [])
    foreign, damaged = (write_run(tmp_path / n, [outcome(1, "cons")]) for n in ("f", "d"))
    pq.write_table(pa.table({"x": [1]}), foreign / "outcomes" / "other.parquet")
    (damaged / "outcomes" / "cut.parquet").write_bytes(b"PAR1 and then nothing")
    wrong = write_run(tmp_path / "wrong", [outcome(1, "cons")])
    table = pa.table({"problem_id": ["a"], "policy": ["cons"], "answer": ["1"], "correct": ["no"]})
    pq.write_table(table, wrong / "outcomes" / "wrong.parquet")
    for folder, message in (
        (tmp_path / "absent", "there is no folder"),
        (tmp_path / "empty", "is not a run's folder: it has no config.yaml"),
        (no_outcomes, "holds no outcomes yet"),
        (foreign, "other.parquet is no table of outcomes: it has no column problem_id, policy"),
        (damaged, "cut.parquet cannot be read as Parquet"),
        (wrong, "wrong.parquet is no table of outcomes: column correct"),
    ):
        assert main(["report", str(folder)]) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1


def test_what_cannot_be_written_is_said(tmp_path):
    run = write_run(tmp_path / "run", [outcome(1, "cons")])
    (tmp_path / "file").write_text("")
    assert main(["report", str(run), "--out", str(tmp_path / "file")]) == 2
    assert main(["report", str(run), "--markdown", str(tmp_path)]) == 2
    assert main(["report", str(run), "--max-text", "-1"]) == 2


def test_unfinished_parts_are_not_read(tmp_path):
    run = write_run(tmp_path / "run", [outcome(1, "cons")])
    (run / "outcomes" / "_next.parquet").write_bytes(b"half")
    assert len(load_runs([run])[0].rows) == 1


def test_markdown_as_it_is_written():
    table = Table(
        "Two | columns",
        ("method", "", "aime24"),
        (
            (Cell("cons@4"), Cell("tokens"), Cell("1.2M", "1.0M–1.4M")),
            (Cell("oracle", kind="limit"), Cell("Δ"), Cell("−80.0%")),
        ),
        ("A note_with marks.",),
        (("", 2), ("Qwen*", 1)),
        2,
    )
    assert table.markdown() == "\n".join(
        [
            "## Two \\| columns",
            "",
            "| method |  | Qwen\\* / aime24 |",
            "| :-- | :-- | --: |",
            "| cons@4 | tokens | 1.2M [1.0M–1.4M] |",
            "| *oracle* | Δ | −80.0% |",
            "",
            "A note\\_with marks.",
        ]
    )


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


def test_a_damaged_config_is_refused(tmp_path):
    run = write_run(tmp_path / "run", [outcome(1, "cons")])
    (run / "config.yaml").write_text("a: [")
    with pytest.raises(UserError, match=r"config.yaml cannot be read"):
        load_runs([run])


def test_the_live_view_has_the_palette_of_the_report():
    css = files("actors.serving").joinpath("page", "page.css").read_text()
    assert re.findall(r"--a\d: (#\w{6})", css) == [*PALETTE, OTHER_COLOUR]
