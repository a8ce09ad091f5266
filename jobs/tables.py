"""Results as people read them, and as programs do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table

from deepprune.equivalence import equivalent
from deepprune.ledger import Ledger
from deepprune.session import Outcome

if TYPE_CHECKING:
    from actors.coordinator import Solved


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


def answer_json(solved: Solved) -> dict[str, Any]:
    """One problem's result as an object; its keys are documented in the README."""
    outcome = solved.outcome
    ledger = outcome.ledger
    return {
        "problem_id": outcome.problem.problem_id,
        "policy": outcome.policy,
        "answer": outcome.answer,
        "complete": outcome.complete,
        "votes": [
            {"answer": answer, "count": len(samples), "samples": list(samples)}
            for answer, samples in outcome.decision.votes
        ],
        "clusters": [list(cluster) for cluster in outcome.decision.clusters],
        "representative": _representative(solved),
        "ledger": asdict(ledger)
        | {"generated_tokens": ledger.generated_tokens, "launched_traces": ledger.launched_traces},
    }


def answer_report(solved: Solved, console: Console | None = None) -> None:
    """Print one problem's answer, votes, clusters and bill to stdout."""
    console = console or Console()
    outcome, ledger = solved.outcome, solved.outcome.ledger
    console.print(f"[bold]answer:[/] {outcome.answer or 'none'}", highlight=False)
    total = sum(len(samples) for _, samples in outcome.decision.votes)
    votes = Table("answer", "votes", "share", title="votes", title_justify="left", box=None)
    for answer, samples in outcome.decision.votes:
        votes.add_row(answer, str(len(samples)), f"{len(samples) / total:.0%}")
    console.print(votes)
    if outcome.decision.clusters:
        clusters = Table("size", "a member", title="clusters", title_justify="left", box=None)
        for cluster in sorted(outcome.decision.clusters, key=len, reverse=True)[:8]:
            excerpt = " ".join(solved.traces[cluster[0]].prefix.split())
            clusters.add_row(str(len(cluster)), excerpt[:90])
        console.print(clusters)
        if len(outcome.decision.clusters) > 8:
            console.print(f"  and {len(outcome.decision.clusters) - 8} smaller clusters")
    console.print(_bill(ledger))
    if not outcome.complete:
        console.print("[yellow]interrupted: this is the vote so far[/]")


def demo_report(
    rows: Sequence[DemoRow], seconds: Mapping[str, float], console: Console | None = None
) -> None:
    """Print a demo's problems and totals to stdout.

    `seconds` holds the wall seconds that all problems together took under each policy.
    """
    console = console or Console()
    names = rows[0].baseline.policy, rows[0].pruned.policy
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for heading in ("problem", "ref", *names):
        table.add_column(heading, no_wrap=True)
    for heading in ("tokens", "pruned", "saved", "judge", "s", "s"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            row.baseline.problem.problem_id.rpartition("-")[2],
            row.baseline.problem.reference,
            *(_marked(outcome) for outcome in (row.baseline, row.pruned)),
            *_costs(row.baseline.ledger, row.pruned.ledger),
        )
    console.print(table)
    console.print(
        f"tokens, pruned: generated under {names[0]} and under {names[1]}. judge: prompt tokens it "
        "computed. s: from launch to vote under each, with other problems running beside it.",
        style="dim",
    )
    baseline = [row.baseline for row in rows]
    pruned = [row.pruned for row in rows]
    before, after = _total(baseline), _total(pruned)
    for outcomes, ledger in ((baseline, before), (pruned, after)):
        name = outcomes[0].policy
        console.print(
            f"[bold]{name}[/]: {_accuracy(outcomes)} right, {ledger.generated_tokens:,} tokens, "
            f"{seconds[name]:.1f} s",
            highlight=False,
        )
    saved = 1 - after.generated_tokens / max(1, before.generated_tokens)
    console.print(
        f"[bold green]{saved:.1%} fewer tokens generated[/]; the judge compared "
        f"{after.judge_pairs:,} pairs: {after.judge_computed_tokens:,} tokens computed, "
        f"{after.judge_cached_tokens:,} from its prefix cache",
        highlight=False,
    )


def _bill(ledger: Ledger) -> Table:
    table = Table("traces", "tokens", "", title="bill", title_justify="left", box=None)
    for fate in ("finished", "cancelled_after_checkpoint", "cancelled_before_checkpoint", "lost"):
        traces, tokens = getattr(ledger, f"{fate}_traces"), getattr(ledger, f"{fate}_tokens")
        if traces:
            table.add_row(str(traces), f"{tokens:,}", fate.replace("_", " "))
    table.add_row(str(ledger.launched_traces), f"{ledger.generated_tokens:,}", "generated in all")
    table.add_row(
        "",
        f"{ledger.judge_computed_tokens:,}",
        f"by the judge for {ledger.judge_pairs:,} pairs ({ledger.judge_cached_tokens:,} cached)",
    )
    table.add_row(
        "",
        f"{ledger.prompt_computed_tokens:,}",
        f"of prompts and resumed prefixes ({ledger.prompt_cached_tokens:,} cached)",
    )
    table.add_row("", f"{ledger.wall_s:.1f} s", "from launch to vote")
    return table


def _costs(before: Ledger, after: Ledger) -> list[str]:
    return [
        f"{before.generated_tokens:,}",
        f"{after.generated_tokens:,}",
        f"{1 - after.generated_tokens / max(1, before.generated_tokens):.0%}",
        f"{after.judge_computed_tokens / 1000:.1f}k",
        f"{before.wall_s:.1f}",
        f"{after.wall_s:.1f}",
    ]


def _marked(outcome: Outcome) -> str:
    mark = {True: "[green]✓[/]", False: "[red]✗[/]", None: ""}[is_correct(outcome)]
    return f"{outcome.answer or '-'} {mark}"


def _accuracy(outcomes: Sequence[Outcome]) -> str:
    right = sum(is_correct(outcome) is True for outcome in outcomes)
    return f"{right} of {len(outcomes)}"


def _total(outcomes: Sequence[Outcome]) -> Ledger:
    return sum((outcome.ledger for outcome in outcomes), Ledger())


def _representative(solved: Solved) -> str | None:
    """The text of the first trace that voted for the answer."""
    votes = solved.outcome.decision.votes
    return solved.traces[votes[0][1][0]].text if votes else None
