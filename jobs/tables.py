"""Results as people read them on stdout, and as programs do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from deepprune.answers import equivalent
from deepprune.ledger import Ledger
from deepprune.session import Outcome
from jobs.style import (
    FATE_NAMES,
    colour,
    common_part,
    counted,
    excerpt,
    fewer,
    mark,
    new_table,
    one_line,
    shown_answer,
)

if TYPE_CHECKING:
    from actors.coordinator import Solved

NARROW_COLUMNS = 28
"""Characters in a row about a cluster, beside the excerpt."""
VOTE_BAR_WIDTH = 24
MAX_CLUSTERS_SHOWN = 8
WIDEST = 400
CELL_CHARS = 16
"""Of an answer in a table with many columns."""


@dataclass(frozen=True, slots=True)
class DemoRow:
    """The outcomes of the baseline and of the policy on one problem."""

    baseline: Outcome
    pruned: Outcome


def is_correct(outcome: Outcome) -> bool | None:
    """Whether the answer equals the reference; None where there is no reference."""
    reference = outcome.problem.reference
    if reference is None:
        return None
    return outcome.answer is not None and equivalent(outcome.answer, reference)


def agree(a: Outcome, b: Outcome) -> bool:
    """Whether two outcomes have the same answer."""
    if a.answer is None or b.answer is None:
        return a.answer == b.answer
    return equivalent(a.answer, b.answer)


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


def demo_report(
    rows: Sequence[DemoRow], seconds: Mapping[str, float], console: Console | None = None
) -> None:
    """Print a demo's problems and totals to stdout.

    `seconds` holds the wall seconds that all problems together took under each policy.
    """
    console = console or Console(highlight=False)
    num_all, rows = len(rows), [r for r in rows if r.baseline.complete and r.pruned.complete]
    if len(rows) < num_all:
        left_out = f"{num_all - len(rows)} of {counted(num_all, 'problem')} left out: interrupted"
        console.print(Text(left_out, "yellow"))
    if not rows:
        return
    baseline, pruned = rows[0].baseline.policy, rows[0].pruned.policy
    common = common_part([row.baseline.problem.problem_id for row in rows])
    headings = ("ref.", baseline, "pruned", f"tokens\n{baseline}", "\npruned", "\nfewer")
    table = new_table(
        None, "problem", *headings, "judge\ntokens", f"wall s\n{baseline}", "\npruned"
    )
    for row in rows:
        problem = row.baseline.problem
        table.add_row(
            Text(one_line(problem.problem_id.removeprefix(common), 40)),
            Text(shown_answer(problem.reference, CELL_CHARS)),
            *map(_marked_answer, (row.baseline, row.pruned)),
            *_costs(row.baseline.ledger, row.pruned.ledger),
        )
    before = _total([row.baseline for row in rows], seconds[baseline])
    after = _total([row.pruned for row in rows], seconds[pruned])
    table.add_section()
    table.add_row(
        "total",
        "",
        _num_correct([row.baseline for row in rows]),
        _num_correct([row.pruned for row in rows]),
        *_costs(before, after),
        style="bold",
    )
    num_agree = sum(agree(row.baseline, row.pruned) for row in rows)
    saved = fewer(after.generated_tokens, before.generated_tokens)
    console.print()
    same = f", live on the same {counted(len(rows), 'problem')}"
    source = f" of {common.rstrip('/_-')}" if common else ""
    console.print(Text.assemble((f"{baseline} and {pruned}", "bold"), same, (source, "dim")))
    console.print()
    # A number that is cut short is a wrong number: rather let a narrow terminal wrap the line.
    table.width = Measurement.get(console, console.options.update_width(WIDEST), table).maximum
    console.print(table, crop=False)
    console.print()
    judge = (
        f"Its judge compared {after.judge_pairs:,} pairs: {after.judge_computed_tokens:,} tokens"
        f" computed, {after.judge_cached_tokens:,} from the cache.\n"
    )
    verdict = (f"{pruned} generated {saved} tokens than {baseline}", "bold green")
    answers = f": the same answer on {num_agree} of {len(rows)}.\n"
    note = ("A problem's seconds go from launch to vote, with others running beside it.", "dim")
    console.print(Text.assemble(verdict, answers, judge if after.judge_pairs else "", note))


def _votes(outcome: Outcome) -> Table:
    table = new_table("Votes", "answer", "votes", "share")
    table.add_column()
    num_votes = sum(len(samples) for _, samples in outcome.decision.votes)
    for index, (answer, samples) in enumerate(outcome.decision.votes):
        share = len(samples) / num_votes
        bar = Text("━" * max(1, round(share * VOTE_BAR_WIDTH)), colour(index))
        table.add_row(Text(shown_answer(answer)), str(len(samples)), f"{share:.0%}", bar)
    return table


def _clusters(solved: Solved, excerpt_chars: int) -> Table:
    table = new_table("Clusters", "", "traces")
    table.add_column("voted", no_wrap=True)
    table.add_column("where the first trace stood when it was judged")
    decision = solved.outcome.decision
    answer_of = {sample: answer for answer, samples in decision.votes for sample in samples}
    by_size = sorted(decision.clusters, key=len, reverse=True)
    for index, cluster in enumerate(by_size[:MAX_CLUSTERS_SHOWN]):
        voted = Counter(answer_of[sample] for sample in cluster if sample in answer_of)
        answers = [f"{shown_answer(answer, CELL_CHARS)} ×{n}" for answer, n in voted.most_common(2)]
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
    table = new_table("Tokens", "", "traces", "tokens")
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


def _marked_answer(outcome: Outcome) -> Text:
    correct = mark(is_correct(outcome))
    return Text.assemble(shown_answer(outcome.answer, CELL_CHARS), " " if correct else "", correct)


def _costs(before: Ledger, after: Ledger) -> tuple[str, ...]:
    return (
        f"{before.generated_tokens:,}",
        f"{after.generated_tokens:,}",
        f"{1 - after.generated_tokens / max(1, before.generated_tokens):.0%}",
        f"{after.judge_computed_tokens:,}",
        f"{before.wall_s:.1f}",
        f"{after.wall_s:.1f}",
    )


def _total(outcomes: Sequence[Outcome], wall_s: float) -> Ledger:
    """All bills added up, but for the wall seconds: problems run side by side."""
    return replace(sum((outcome.ledger for outcome in outcomes), Ledger()), wall_s=wall_s)


def _num_correct(outcomes: Sequence[Outcome]) -> str:
    known = [outcome for outcome in outcomes if outcome.problem.reference is not None]
    return f"{sum(is_correct(outcome) is True for outcome in known)}/{len(known)}"
