"""The report as a whole: page, files, and what is refused."""

import re
import warnings
from importlib.resources import files

import matplotlib.image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepprune.errors import UserError
from jobs.cli import main
from jobs.render.table import Cell, Table
from jobs.render.theme import OTHER_COLOUR, PALETTE
from jobs.report.load import load_runs
from tests.support.report_page import HOSTILE, checked, unpacked
from tests.support.sample_runs import AFTER, end, outcome, realistic, trace, write_run


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
        (foreign, "other.parquet: no columns problem_id, policy"),
        (damaged, "cut.parquet cannot be read as Parquet"),
        (wrong, "wrong.parquet: column correct"),
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


def test_a_damaged_config_is_refused(tmp_path):
    run = write_run(tmp_path / "run", [outcome(1, "cons")])
    (run / "config.yaml").write_text("a: [")
    with pytest.raises(UserError, match=r"config.yaml cannot be read"):
        load_runs([run])


def test_the_live_view_has_the_palette_of_the_report():
    css = files("actors.serving").joinpath("page", "page.css").read_text()
    assert re.findall(r"--a\d: (#\w{6})", css) == [*PALETTE, OTHER_COLOUR]
