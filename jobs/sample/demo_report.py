"""What `deepprune demo` prints: each problem under each policy, and what the policies come to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from deepprune.grading import agree, is_correct, num_correct
from deepprune.ledger import Ledger
from deepprune.session import Outcome
from jobs.render.format import counted, fewer
from jobs.render.table import Cell, Table
from jobs.render.terminal import print_uncut
from jobs.render.text import common_part, one_line, shown_answer

ANSWER_CHARS = 16


@dataclass(frozen=True, slots=True)
class PolicyRun:
    """What a policy came to on the problems; all runs of a report have the same, in order."""

    outcomes: Sequence[Outcome]
    wall_s: float
    """Of all problems together, which run side by side."""
    policy: str
    """As the tables call it."""
    in_problems: bool = True
    """Whether the table of problems has columns for it."""

    @property
    def bill(self) -> Ledger:
        """All bills added up."""
        return sum((outcome.ledger for outcome in self.outcomes), Ledger())


def demo_report(
    baseline: PolicyRun,
    others: Sequence[PolicyRun],
    *,
    num_interrupted: int = 0,
    console: Console | None = None,
) -> None:
    """Print a demo's problems and totals to stdout.

    `num_interrupted` problems are not in the runs, since some policy was interrupted at them.
    """
    console = console or Console(highlight=False)
    if num_interrupted:
        left_out = f"{counted(num_interrupted, 'problem')} left out: interrupted"
        console.print(Text(left_out, "yellow"))
    problem_ids = [outcome.problem.problem_id for outcome in baseline.outcomes]
    common = common_part(problem_ids)
    names = ", ".join([baseline.policy, *(run.policy for run in others)])
    same = f", live on the same {counted(len(problem_ids), 'problem')}"
    source = f" of {common.rstrip('/_-')}" if common else ""
    console.print()
    console.print(Text.assemble((names, "bold"), same, (source, "dim")))
    detailed = [baseline, *(run for run in others if run.in_problems)]
    for table in (_problems(detailed, common), _totals(baseline, others)):
        console.print()
        print_uncut(table.__rich__(), console)
    console.print()
    for run in others:
        saved = fewer(run.bill.generated_tokens, baseline.bill.generated_tokens)
        verdict = (f"{run.policy} generated {saved} tokens than {baseline.policy}", "bold green")
        console.print(Text.assemble(verdict, f": the same answer on {_num_agree(baseline, run)}."))


def _problems(runs: Sequence[PolicyRun], common: str) -> Table:
    """A row for each problem; `common` is what their ids begin with."""
    first, *rest = [run.policy for run in runs]
    below = [f"\n{name}" for name in rest]
    headings = ("problem", "ref.", f"answer\n{first}", *below, f"tokens\n{first}", *below)
    rows = []
    for outcomes in zip(*(run.outcomes for run in runs), strict=True):
        problem = outcomes[0].problem
        cells = (
            one_line(problem.problem_id.removeprefix(common), 40),
            shown_answer(problem.reference, ANSWER_CHARS),
            *map(_marked_answer, outcomes),
            *(f"{outcome.ledger.generated_tokens:,}" for outcome in outcomes),
        )
        rows.append(tuple(map(Cell, cells)))
    return Table("", headings, tuple(rows))


def _totals(baseline: PolicyRun, others: Sequence[PolicyRun]) -> Table:
    """A row for each policy."""
    headings = (
        *("all problems", "right", "tokens", "fewer"),
        *("judge's\ntokens", "pairs\njudged", f"same as\n{baseline.policy}", "wall s"),
    )
    before = baseline.bill.generated_tokens
    rows = []
    for run in (baseline, *others):
        bill = run.bill
        beside = ("", "", "", "")
        if run is not baseline:
            beside = (
                f"{1 - bill.generated_tokens / max(1, before):.0%}",
                f"{bill.judge_computed_tokens:,}",
                f"{bill.judge_pairs:,}",
                _num_agree(baseline, run),
            )
        right = "{} of {}".format(*num_correct(run.outcomes))
        cells = (run.policy, right, f"{bill.generated_tokens:,}", *beside, f"{run.wall_s:.1f}")
        rows.append(tuple(map(Cell, cells)))
    return Table("", headings, tuple(rows))


def _num_agree(baseline: PolicyRun, run: PolicyRun) -> str:
    same = sum(
        agree(ours.answer, theirs.answer)
        for ours, theirs in zip(run.outcomes, baseline.outcomes, strict=True)
    )
    return f"{same} of {len(run.outcomes)}"


def _marked_answer(outcome: Outcome) -> str:
    mark = {True: " ✓", False: " ✗", None: ""}[is_correct(outcome)]
    return shown_answer(outcome.answer, ANSWER_CHARS) + mark
