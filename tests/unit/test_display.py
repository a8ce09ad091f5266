import json
import subprocess
import sys
from dataclasses import fields, replace
from io import StringIO

import pytest
from rich.console import Console

from actors.driver.live import Snapshot
from deepprune.events import Decision
from deepprune.ledger import Ledger
from deepprune.traces import Problem
from jobs.sample.answer_report import answer_json, answer_report
from jobs.sample.display import PLAIN_INTERVAL_S, STRETCHES, Display
from tests.support import sample_results

STATES = {"prefix": 3, "paused": 2, "finishing": 1, "finished": 4, "cancelled_after_checkpoint": 6}


def snapshot(**changes) -> Snapshot:
    standing = Snapshot("made/7", STATES, (5, 2, 1), (("42", 3), ("41", 1)), 1234, 56, False)
    return replace(standing, **changes)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def plain_console() -> Console:
    return Console(file=StringIO(), width=80, highlight=False)


def terminal(**options) -> Console:
    options = {"width": 100, "height": 30, "color_system": "truecolor"} | options
    return Console(file=StringIO(), force_terminal=True, _environ={"TERM": "xterm"}, **options)


def text_of(console: Console) -> str:
    return console.file.getvalue()


def shown(display: Display) -> str:
    with display.console.capture() as capture:
        display.console.print(display._view())
    return capture.get()


# --- plain lines ---------------------------------------------------------------------------------


def test_plain_lines_come_at_most_every_few_seconds_and_one_for_each_problem():
    clock, console = Clock(), plain_console()
    with Display("demo", 2, console=console, clock=clock) as display:
        display.phase("starting the engines")
        for _ in range(41):  # ten seconds
            display.update([snapshot()])
            clock.now += 0.25
        display.finished(sample_results.cons().outcome)
    lines = text_of(console).splitlines()
    progress = [line for line in lines if "to checkpoint" in line]
    assert lines[0] == "[0:00] starting the engines"
    assert len(progress) == 10 // PLAIN_INTERVAL_S + 1
    assert (
        "1 running: 4 finished, 1 finishing, 2 paused, 3 to checkpoint, 6 cancelled" in progress[0]
    )
    assert len(lines) == 1 + len(progress) + 1
    assert "42      4 of  5 votes      600 tokens" in lines[-1]
    assert "\x1b" not in text_of(console)


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1", "TERM": "xterm"}, {"TERM": "dumb"}])
def test_a_terminal_that_wants_no_colour_or_is_dumb_gets_plain_lines(environment):
    console = Console(file=StringIO(), force_terminal=True, _environ=environment)
    with Display("answer", 1, console=console) as display:
        display.update([snapshot()])
    assert "\x1b[?25l" not in text_of(console)  # no cursor was hidden
    assert "0/1 done" in text_of(console)


def test_everything_goes_to_stderr(capsys):
    with Display("answer", 1) as display:
        display.phase("starting Ray")
        display.update([snapshot()])
        display.finished(sample_results.pruned().outcome)
    out, err = capsys.readouterr()
    assert out == ""
    assert "starting Ray" in err


def test_savings_are_told_once_both_policies_have_solved_a_problem():
    console = plain_console()
    with Display("demo", 4, console=console) as display:
        display.finished(sample_results.cons().outcome)
        display.finished(sample_results.pruned(Problem("made/8", "Another?")).outcome)
        assert "fewer" not in text_of(console)
        display.finished(sample_results.pruned().outcome)
        assert text_of(console).count("53% fewer") == 1
        display.update([snapshot()])
    assert "318 saved, 53% fewer" in text_of(console).splitlines()[-1]


def test_the_time_left_follows_from_the_pace():
    clock, console = Clock(), plain_console()
    with Display("demo", 4, console=console, clock=clock) as display:
        display.update([])
        clock.now += 60
        display.finished(sample_results.cons().outcome)
        display.update([snapshot()])
    assert "3:00 left" in text_of(console)


def test_the_number_of_tokens_never_falls():
    with Display("demo", 2, console=plain_console()) as display:
        display.update([snapshot(num_tokens=600)])
        display.update([])  # done, but its outcome is still on its way
        assert "600 tokens" in display._totals().plain
        display.finished(sample_results.cons().outcome)
        assert "600 tokens" in display._totals().plain


# --- the live view -------------------------------------------------------------------------------


def test_the_live_view_shows_problems_states_clusters_and_votes():
    display = Display("demo", 4, num_traces=16, console=terminal())
    display.phase("deepprune")
    assert "deepprune" in shown(display) and "problem" not in shown(display)
    display.update([snapshot()])
    view = shown(display)
    for expected in ("demo", "0/4 done", "clusters", "42", "×3", "1,234", "judge 56"):
        assert expected in view
    assert view.count("■") == 8
    assert all(stretch.name in view for stretch in STRETCHES[:-1])


def test_what_is_finished_stays_and_the_view_goes():
    console = terminal()
    with Display("demo", 1, console=console) as display:
        display.update([snapshot()])
        display.finished(sample_results.pruned().outcome)
    assert "deepprune" in text_of(console)
    assert text_of(console).rstrip().endswith("\x1b[2K")  # the view was wiped


@pytest.mark.parametrize("width", [20, 40, 80, 200])
@pytest.mark.parametrize("num_problems", [1, 50])
def test_the_live_view_fits_the_terminal(width, num_problems):
    many = snapshot(clusters=(1,) * 16, votes=tuple((f"answer {i}", 1) for i in range(20)))
    display = Display("demo", 99, num_traces=512, console=terminal(width=width))
    display.update([many] * num_problems)
    lines = display.console.render_lines(display._view(), display.console.options)
    assert len(lines) <= display.console.height or width < 60
    assert all(sum(segment.cell_length for segment in line) <= width for line in lines)


def test_answers_are_shown_as_they_are_and_control_no_terminal():
    hostile = "\\text{[red]no[/red]}\n\x1b[2J"
    display = Display("answer", 1, console=terminal(color_system=None))
    display.update([snapshot(votes=((hostile, 1),))])
    outcome = sample_results.pruned().outcome
    decision = Decision(hostile, ((hostile, (0, 1)),))
    display.finished(replace(outcome, decision=decision))
    answer_report(
        replace(sample_results.pruned(), outcome=replace(outcome, decision=decision)),
        display.console,
    )
    everything = shown(display) + text_of(display.console)
    assert "[red]" in everything
    assert "\x1b[2J" not in everything


def test_the_display_and_the_tables_load_without_anything_heavy():
    program = "import jobs.sample.display, jobs.sample.answer_report, sys; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    loaded = set(result.stdout.split())
    assert "jobs.sample.answer_report" in loaded
    assert loaded.isdisjoint({"ray", "pyarrow", "matplotlib", "torch", "vllm", "numpy"})


# --- reports -------------------------------------------------------------------------------------


def test_the_answer_report_says_the_vote_the_clusters_and_every_token():
    console = plain_console()
    answer_report(sample_results.pruned(), console, num_traces=6)
    report = text_of(console)
    for expected in ("42", "100%", "42 ×2", "think", "judge, 5 pairs", "70", "2.5 s"):
        assert expected in report
    assert "cancelled after the checkpoint 2 62" in " ".join(report.split())
    assert "lost" not in report
    assert "55% fewer tokens than 6 traces that all finish (about 630)" in " ".join(report.split())


def test_an_interrupted_answer_without_votes_is_still_reported():
    console = plain_console()
    answer_report(sample_results.interrupted(sample_results.pruned()), console)
    assert "interrupted" in text_of(console)


def test_the_answer_as_json_keeps_its_keys():
    result = json.loads(json.dumps(answer_json(sample_results.pruned())))
    assert set(result) == {
        *("problem_id", "problem", "reference", "policy", "answer", "correct", "complete"),
        *("votes", "clusters", "representative", "ledger"),
    }
    assert result["votes"] == [{"answer": "42", "count": 2, "share": 1.0, "samples": [0, 1]}]
    assert result["clusters"] == [[0, 1, 3], [2]]
    assert result["correct"] is True
    ledger = {field.name for field in fields(Ledger)}
    assert set(result["ledger"]) == ledger | {"generated_tokens", "launched_traces"}
    assert result["ledger"]["generated_tokens"] == 282


def test_the_json_of_an_interrupted_answer_has_nulls():
    result = answer_json(sample_results.interrupted(sample_results.pruned(Problem("made/9", "?"))))
    assert result["answer"] is result["correct"] is result["representative"] is None
    assert result["votes"] == [] and result["complete"] is False
