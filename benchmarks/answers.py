"""Measure how fast and how correctly answers are compared, beside math-verify alone.

    python -m benchmarks.answers --traces RECORDING... [--cases CASES.jsonl]

For each recording: how many different answers a second are read into values, and how many its
`parse` reads; the longest single one; and what the votes cost, where the library compares each
answer with one of every group. A case is a JSON object with `gold`, `pred`, `expected` and `kind`:
the table counts cases that each judges rightly, by kind.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow.parquet as pq
from math_verify import parse, verify

from deepprune.answers import equivalent, extract_answer, read_value
from deepprune.voting import Vote


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--traces", type=Path, nargs="*", default=[], help="Parquet files")
    parser.add_argument("--cases", type=Path, help="pairs of answers, one JSON object a line")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    equivalent(r"\sqrt4", "2")  # the algebra starts once
    for file in options.traces:
        print_speed(file)
    if options.cases is not None:
        print_cases(options.cases)


def print_speed(file: Path) -> None:
    votes = list(answers_by_problem(file))
    distinct = list(dict.fromkeys(answer for answers in votes for answer in answers))
    ours, longest = timed_reading(distinct)
    library = timed(lambda: [parse(boxed(answer)) for answer in distinct])
    counting = timed(lambda: [ours_vote(answers) for answers in votes])
    comparing = timed(lambda: [library_vote(answers) for answers in votes])
    print(
        f"{file.stem}: {len(distinct)} different answers in {len(votes)} votes\n"
        f"  read: {len(distinct) / ours:,.0f} a second; math-verify's parse "
        f"{len(distinct) / library:,.0f}; ratio {library / ours:.2f}; longest {longest:.3f} s\n"
        f"  votes, all answers read: {1e3 * counting / len(votes):.2f} ms each; by math-verify "
        f"{1e3 * comparing / len(votes):.1f} ms; ratio {comparing / counting:,.0f}"
    )


def answers_by_problem(file: Path) -> Iterator[list[str]]:
    groups: dict[str, list[str]] = defaultdict(list)
    columns = ["problem_id", "text", "answer"]
    for row in pq.read_table(file, columns=columns).to_pylist():
        answer = row["answer"] or extract_answer(row["text"])
        if answer:
            groups[row["problem_id"]].append(answer)
    yield from groups.values()


def timed_reading(answers: Sequence[str]) -> tuple[float, float]:
    """Seconds for all answers, and for the longest single one."""
    read_value.cache_clear()
    seconds = [timed(lambda answer=answer: read_value(answer)) for answer in answers]  # type: ignore[misc]
    return sum(seconds), max(seconds)


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def ours_vote(answers: Sequence[str]) -> str | None:
    vote = Vote()
    for sample, answer in enumerate(answers):
        vote.add(sample, answer)
    return vote.answer


def library_vote(answers: Sequence[str]) -> str | None:
    """Each answer joins the first group whose first answer the library finds equal."""
    groups: list[tuple[list[object], list[str]]] = []
    for answer in answers:
        parsed = parse(boxed(answer))
        group = next((group for first, group in groups if verify(first, parsed)), None)
        if group is None:
            groups.append((parsed, [answer]))
        else:
            group.append(answer)
    return max((group for _, group in groups), key=len, default=[None])[0]


def boxed(answer: str) -> str:
    return rf"$\boxed{{{answer}}}$"


def print_cases(file: Path) -> None:
    """Both orders must be right: a comparison that depends on them misjudges one of the two."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0] * 6)
    for line in file.read_text().splitlines():
        case = json.loads(line)
        gold, pred, expected = case["gold"], case["pred"], case["expected"]
        row = counts[case["kind"]]
        offset = 0 if expected else 3
        row[offset] += 1
        row[offset + 1] += {equivalent(gold, pred), equivalent(pred, gold)} == {expected}
        row[offset + 2] += verify(parse(f"${gold}$"), parse(f"${pred}$")) == expected
    total = [sum(column) for column in zip(*counts.values(), strict=True)]
    print(f"{'kind':36} {'equal':>6} {'ours':>5} {'lib.':>5} {'differ':>7} {'ours':>5} {'lib.':>5}")
    for kind, row in [*counts.items(), ("all", total)]:
        print(f"{kind:36} {row[0]:6} {row[1]:5} {row[2]:5} {row[3]:7} {row[4]:5} {row[5]:5}")


if __name__ == "__main__":
    main()
