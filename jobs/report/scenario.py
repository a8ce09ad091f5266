"""A model on a benchmark, and the figures of each variant that was tried there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from deepprune.ledger import Fate
from deepprune.statistics import Estimate
from jobs.render.text import one_line
from jobs.report.load import Row
from jobs.report.smaller_votes import SmallerVotes
from jobs.report.variants import Variant

NAME_CHARS = 80
Key = tuple[str, int | None]
"""Problem id and seed."""
Rows = Mapping[Key, Row]


@dataclass(frozen=True, slots=True)
class Comparison:
    """An variant beside its baseline, on the problems and seeds that both have."""

    baseline: Variant
    num_problems: int
    accuracy: Estimate | None
    """Difference, positive where the variant is right more often."""
    tokens: Estimate | None
    """Its tokens as a share of the baseline's, the judge's not counted."""
    sequential_tokens: Estimate | None
    """Likewise of the tokens that had to wait for each other."""
    same_answer: Estimate | None
    same_by_problem: Mapping[str, float]
    changed: Mapping[str, tuple[float, float]]
    """Accuracy of the variant and of the baseline on problems where these differ."""


@dataclass(frozen=True)
class Summary:
    """The figures of one variant in one scenario; those of cost are means per problem."""

    variant: Variant
    label: str
    rows: Rows
    num_interrupted: int
    problems: tuple[str, ...]
    seeds: tuple[int | None, ...]
    total_tokens: float | None
    accuracy: Estimate | None
    tokens: Estimate | None
    costs: Mapping[str, Estimate]
    """Of each recorded column of NUMBERS."""
    bill: Estimate | None
    """Tokens generated, and those that were read (by the judge, and of prompts and prefixes that
    no cache had) at `JUDGE_PRICE`."""
    judge_tokens: Estimate | None
    judge_share: Estimate | None
    """Tokens the judge read, computed or cached, for each token generated."""
    by_problem: Mapping[str, tuple[float, float]]
    """Accuracy and tokens of each problem; NaN where unknown."""
    comparison: Comparison | None = None

    @property
    def token_share(self) -> Estimate | None:
        """Its tokens as a share of the baseline's."""
        return self.comparison.tokens if self.comparison else None

    @property
    def accuracy_change(self) -> Estimate | None:
        """Its accuracy less the baseline's."""
        return self.comparison.accuracy if self.comparison else None

    def fate(self, fate: Fate) -> float:
        """Tokens per problem that met a fate."""
        cost = self.costs.get(f"{fate.value}_tokens")
        return cost.value if cost else 0.0


@dataclass(frozen=True)
class Scenario:
    """A model on a benchmark, with all variants that were tried there."""

    model: str
    benchmark: str
    problems: tuple[str, ...]
    summaries: tuple[Summary, ...]
    notes: tuple[str, ...] = ()
    missing: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Problems that a variant lacks, by its label."""
    smaller: SmallerVotes | None = None
    """Votes of fewer traces than the largest plain self-consistency, out of its own."""

    @property
    def name(self) -> str:
        """As it stands above tables."""
        return f"{one_line(self.model, NAME_CHARS)} on {one_line(self.benchmark, NAME_CHARS)}"

    @property
    def compared(self) -> tuple[Summary, ...]:
        """The variants to compare: without noisy judges, if there are others."""
        sharp = tuple(s for s in self.summaries if not s.variant.is_noisy)
        judged = any(s.variant.judge and not s.variant.is_control for s in sharp)
        return sharp if judged or len(sharp) == len(self.summaries) else self.summaries

    def baseline(self) -> Summary | None:
        """The largest plain self-consistency."""
        plain = [s for s in self.summaries if s.variant.is_baseline]
        return max(plain, key=lambda s: s.variant.num_traces or 0, default=None)
