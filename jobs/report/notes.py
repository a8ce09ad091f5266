"""Sentences about missing, doubled and unjudged outcomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jobs.render.format import counted
from jobs.render.text import common_part, one_line
from jobs.report.load import Row
from jobs.report.scenario import Summary

MAX_ID_CHARS = 60


def notes_of(
    summaries: Sequence[Summary],
    missing: Mapping[str, Sequence[str]],
    *,
    doubled: Mapping[str, int],
    interrupted: Mapping[str, Sequence[Row]],
    num_problems: int,
) -> tuple[str, ...]:
    """The notes of a scenario; problems are named, all of them."""
    notes = []
    for label, problems in missing.items():
        notes.append(
            f"{label} lacks {len(problems)} of {counted(num_problems, 'problem')} and is compared "
            f"with cons on those it has. Missing: {names(problems)}."
        )
    for label, rows in interrupted.items():
        if rows:
            ids = sorted({row.problem_id for row in rows})
            notes.append(
                f"{label}: {counted(len(rows), 'outcome')} interrupted before the vote, left out "
                f"of all figures ({names(ids)})."
            )
    for label, number in doubled.items():
        if number:
            notes.append(
                f"{label}: {counted(number, 'outcome')} recorded more than once in a run; "
                "the last one counts."
            )
    notes += _unjudged(summaries)
    notes += _seeds(summaries)
    without = [s.label for s in summaries if s.comparison is None and not s.variant.is_baseline]
    if without:
        notes.append(
            f"Without cons of the same size on the same problems and seeds, so compared with "
            f"nothing: {', '.join(without)}."
        )
    return tuple(notes)


def names(problem_ids: Sequence[str]) -> str:
    """Problem ids as a list; what all begin with is said once."""
    common = common_part(problem_ids) if len(problem_ids) > 2 else ""
    listed = ", ".join(one_line(p.removeprefix(common), MAX_ID_CHARS) for p in problem_ids)
    return f"{one_line(common, MAX_ID_CHARS)}: {listed}" if common else listed


def _unjudged(summaries: Sequence[Summary]) -> list[str]:
    unjudged = sorted(
        {
            row.problem_id
            for summary in summaries
            for row in summary.rows.values()
            if row.correct is None
        }
    )
    if not unjudged:
        return []
    return [
        f"{counted(len(unjudged), 'problem')} without a reference answer "
        f"count for tokens, not for accuracy: {names(unjudged)}."
    ]


def _seeds(summaries: Sequence[Summary]) -> list[str]:
    of = {summary.variant: set(summary.seeds) for summary in summaries}
    others = [
        s.label
        for s in summaries
        if s.comparison and of[s.variant].isdisjoint(of[s.comparison.baseline])
    ]
    if others:
        return [
            f"With other seeds than cons, so compared on the same problems: {', '.join(others)}."
        ]
    numbers = {summary.label: len(summary.seeds) for summary in summaries}
    if len(set(numbers.values())) < 2:
        return []
    most = max(numbers.values())
    fewer = [f"{label} {number}" for label, number in numbers.items() if number < most]
    return [
        f"Seeds differ: {', '.join(fewer)}, the others {most}. Differences to cons use the seeds "
        "that both have."
    ]
