"""Tables 3 and 4 of the paper: the threshold's effect, and how often traces agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from deepprune import statistics
from deepprune.grading import is_right
from deepprune.statistics import Estimate
from jobs.render.format import DASH, amount, percent, published_tokens
from jobs.render.table import Cell, Table, estimated
from jobs.report import published
from jobs.report.load import Run
from jobs.report.scenario import Key, Scenario, Summary
from jobs.report.summary import means
from jobs.report.trace_texts import Pairs, TraceTexts


def threshold_table(scenario: Scenario, runs: Sequence[Run], texts: TraceTexts) -> Table | None:
    """Table 3's form, for a scenario where a policy was tried with more than one threshold."""
    swept = [s for s in scenario.summaries if s.variant.tau is not None]
    policies = {s.variant.policy for s in swept}
    swept = [
        s
        for s in swept
        if len({o.variant.tau for o in swept if o.variant.policy == s.variant.policy}) > 1
    ]
    if not swept:
        return None
    rows: list[tuple[Cell, ...]] = []
    for s in sorted(swept, key=lambda s: (s.variant.policy, -(s.variant.tau or 0))):
        tokens, passed = _greedy(s, runs, texts)
        rows.append(
            (
                Cell(f"{s.variant.tau:g}"),
                Cell(s.label, kind=s.variant.kind),
                _in_all(tokens, len(s.problems)),
                estimated(passed, percent),
                _in_all(s.tokens, len(s.problems)),
                estimated(s.accuracy, percent),
            )
        )
    sizes = {s.variant.num_traces for s in swept}
    for p in published.thresholds(scenario.model, scenario.benchmark, sizes):
        cells = (
            *(f"{p.tau:g}", "DeepPrune (published, Table 3)"),
            *(published_tokens(p.clustering_tokens), percent(p.pass_at_k)),
            *(published_tokens(p.tokens), percent(p.accuracy)),
        )
        rows.append(tuple(Cell(text, kind="published") for text in cells))
    notes = (
        "Greedy clustering: the first trace of each cluster finishes, and pass@k says how often "
        "at least one of them is right. Tokens of the whole benchmark, seeds averaged."
        + ("" if len(policies) == 1 else " Each policy by its own thresholds."),
    )
    groups = (("", 2), ("greedy clustering", 2), ("with majority vote", 2))
    headings = ("τ", "variant", "tokens", "pass@k", "tokens", "accuracy")
    title = f"In the form of the paper's Table 3: {scenario.name}"
    return Table(title, headings, tuple(rows), notes, groups, 2)


def similarity_table(found: Sequence[Pairs]) -> Table | None:
    """Appendix Table 4's form: the share of pairs of traces with the same answer."""
    if not found:
        return None
    rows = [
        _pairs_row(p.model, f"{p.benchmark} ({p.num_problems})", p.pairs, p.same) for p in found
    ]
    if len(found) > 1:
        total, same = sum(p.pairs for p in found), sum(p.same for p in found)
        rows.append(_pairs_row("All pairs together", "", total, same))
    notes = ["Traces without an answer are left out of the pairs, as in the paper."]
    for model in dict.fromkeys(pairs.model for pairs in found):
        known = published.pairs(model)
        if known is not None:
            name = f"{known.model} (published)"
            row = _pairs_row(name, "four benchmarks", known.pairs, known.same)
            rows.append(tuple(replace(cell, kind="published") for cell in row))
            notes.append("Published: Table 4 of the DeepPrune paper, up to 16 traces per problem.")
    headings = ("model", "benchmark (problems)", "total pairs", "same-answer pairs", "ratio")
    title = "In the form of the paper's Table 4: pairs of traces with the same answer"
    return Table(title, headings, tuple(rows), tuple(dict.fromkeys(notes)), (), 2)


def _pairs_row(model: str, benchmark: str, pairs: int, same: int) -> tuple[Cell, ...]:
    ratio = f"{same / pairs:.4f}" if pairs else DASH
    return tuple(map(Cell, (model, benchmark, f"{pairs:,}", f"{same:,}", ratio)))


def _greedy(
    summary: Summary, runs: Sequence[Run], trace_texts: TraceTexts
) -> tuple[Estimate | None, Estimate | None]:
    """Tokens per problem, and pass@k, if the first trace of each cluster finished and no other."""
    spent: dict[Key, float | None] = {}
    passed: dict[Key, float | None] = {}
    for key, row in summary.rows.items():
        texts = trace_texts.texts(row)
        first = [cluster[0] for cluster in runs[row.run].detail(row).clusters if cluster]
        if not first or row.driver != "replay" or any(sample not in texts for sample in first):
            continue  # a live trace that was cancelled has no length and no answer
        spent[key] = sum(texts[sample].num_tokens for sample in first)
        if row.reference is not None:
            passed[key] = any(is_right(texts[sample].answer, row.reference) for sample in first)
    tokens, right = (means(values, summary.problems) for values in (spent, passed))
    return statistics.mean(tokens), statistics.mean(right)


def _in_all(estimate: Estimate | None, num_problems: int) -> Cell:
    """Tokens of the whole benchmark."""
    whole = estimate.scaled(num_problems) if estimate else None
    return estimated(whole, amount)
