"""The result of `deepprune answer`: for people, and as JSON for programs."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from deepprune.grading import is_correct
from deepprune.ledger import Ledger
from deepprune.session import Outcome
from jobs.render.format import counted, fewer
from jobs.render.terminal import mark, new_table
from jobs.render.text import excerpt, shown_answer
from jobs.render.theme import FATE_NAMES, colour

if TYPE_CHECKING:
    from actors.driver.coordinator import Solved

NARROW_COLUMNS = 28
"""Characters in a row about a cluster, beside the excerpt."""
VOTE_BAR_WIDTH = 24
MAX_CLUSTERS_SHOWN = 8
CLUSTER_ANSWER_CHARS = 16


def answer_json(solved: Solved) -> dict[str, Any]:
    """One problem's result for programs; keys may be added, never changed.

    - `problem_id`, `problem`, `reference`, `policy`; `answer`: null where no trace gave one;
    - `correct`: null without a reference; `complete`: false when the run was interrupted;
    - `votes`: `answer`, `count`, `share`, `samples` of each answer, most votes first;
    - `clusters`: the samples of each, in order of opening, the oldest first;
    - `representative`: the whole text of the first trace that voted for the answer, or null;
    - `ledger`: the entries of `deepprune.ledger.Ledger`, `generated_tokens`, `launched_traces`.
    """
    outcome, ledger = solved.outcome, solved.outcome.ledger
    votes = outcome.decision.votes
    num_votes = sum(len(samples) for _, samples in votes)
    return {
        "problem_id": outcome.problem.problem_id,
        "problem": outcome.problem.text,
        "reference": outcome.problem.reference,
        "policy": outcome.policy,
        "answer": outcome.answer,
        "correct": is_correct(outcome),
        "complete": outcome.complete,
        "votes": [
            {
                "answer": answer,
                "count": len(samples),
                "share": len(samples) / num_votes,
                "samples": list(samples),
            }
            for answer, samples in votes
        ],
        "clusters": [list(cluster) for cluster in outcome.decision.clusters],
        "representative": solved.traces[votes[0][1][0]].text if votes else None,
        "ledger": {
            **asdict(ledger),
            "generated_tokens": ledger.generated_tokens,
            "launched_traces": ledger.launched_traces,
        },
    }


def answer_report(
    solved: Solved, console: Console | None = None, *, num_traces: int | None = None
) -> None:
    """Print one problem's answer, votes, clusters and bill to stdout.

    Given `num_traces`, how many traces the policy might have launched, the report also estimates
    what letting all of them finish would have cost.
    """
    console = console or Console(highlight=False)
    outcome = solved.outcome
    headline = Text.assemble(
        ("Answer  ", "dim"), (shown_answer(outcome.answer), "bold"), "  ", mark(is_correct(outcome))
    )
    if not outcome.complete:
        headline.append("interrupted: the vote as it stood", "yellow")
    tables = [_bill(outcome.ledger)]
    if outcome.decision.clusters:
        tables.insert(0, _clusters(solved, max(20, console.width - NARROW_COLUMNS)))
    if outcome.decision.votes:
        tables.insert(0, _votes(outcome))
    for part in (headline, *tables, _closing_line(outcome.ledger, num_traces)):
        console.print(part)
        console.print()


def _votes(outcome: Outcome) -> Table:
    table = new_table("Votes", ["answer"], ["votes", "share"])
    table.add_column()
    num_votes = sum(len(samples) for _, samples in outcome.decision.votes)
    for index, (answer, samples) in enumerate(outcome.decision.votes):
        share = len(samples) / num_votes
        bar = Text("━" * max(1, round(share * VOTE_BAR_WIDTH)), colour(index))
        table.add_row(Text(shown_answer(answer)), str(len(samples)), f"{share:.0%}", bar)
    return table


def _clusters(solved: Solved, excerpt_chars: int) -> Table:
    table = new_table("Clusters", [""], ["traces"])
    table.add_column("voted", no_wrap=True)
    table.add_column("where the first trace stood when it was judged")
    decision = solved.outcome.decision
    answer_of = {sample: answer for answer, samples in decision.votes for sample in samples}
    by_size = sorted(decision.clusters, key=len, reverse=True)
    for index, cluster in enumerate(by_size[:MAX_CLUSTERS_SHOWN]):
        voted = Counter(answer_of[sample] for sample in cluster if sample in answer_of)
        answers = [
            f"{shown_answer(answer, CLUSTER_ANSWER_CHARS)} ×{n}"
            for answer, n in voted.most_common(2)
        ]
        table.add_row(
            Text("■", colour(index)),
            str(len(cluster)),
            Text("  ".join(answers) or "–"),
            Text(excerpt(solved.traces[cluster[0]].prefix, excerpt_chars), "dim", no_wrap=True),
        )
    if len(by_size) > MAX_CLUSTERS_SHOWN:
        rest = by_size[MAX_CLUSTERS_SHOWN:]
        note = Text(f"in {counted(len(rest), 'smaller cluster')}", "dim")
        table.add_row("", str(sum(map(len, rest))), "", note)
    return table


def _bill(ledger: Ledger) -> Table:
    table = new_table("Tokens", [""], ["traces", "tokens"])
    for fate, name in FATE_NAMES.items():
        traces, tokens = getattr(ledger, f"{fate}_traces"), getattr(ledger, f"{fate}_tokens")
        if traces:
            table.add_row(name, f"{traces:,}", f"{tokens:,}")
    generated = f"{ledger.generated_tokens:,}"
    table.add_row("generated in all", f"{ledger.launched_traces:,}", generated, style="bold")
    table.add_section()
    judge = f"judge, {counted(ledger.judge_pairs, 'pair')}"
    for name, computed, cached in (
        (
            "prompts and resumed prefixes",
            ledger.prompt_computed_tokens,
            ledger.prompt_cached_tokens,
        ),
        (judge, ledger.judge_computed_tokens, ledger.judge_cached_tokens),
    ):
        if computed or cached:
            table.add_row(f"{name}: computed", "", f"{computed:,}")
            table.add_row(f"{name}: from the cache", "", f"{cached:,}")
    return table


def _closing_line(ledger: Ledger, num_traces: int | None) -> Text:
    line = Text(f"{ledger.wall_s:.1f} s")
    if num_traces and ledger.finished_traces:
        estimate = round(num_traces * ledger.finished_tokens / ledger.finished_traces)
        line.append(f", about {fewer(ledger.generated_tokens, estimate)} tokens", "bold green")
        line.append(f" than {counted(num_traces, 'trace')} that all finish (about {estimate:,})")
    return line
