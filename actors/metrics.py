"""What the coordinator tells Ray's metrics, for Prometheus and the dashboard: `deepprune_*`."""

from __future__ import annotations

from ray.util.metrics import Counter, Gauge, Histogram

from deepprune.ledger import Fate
from deepprune.session import Outcome


class Metrics:
    """Counters that follow the ledgers of solved problems."""

    def __init__(self) -> None:
        self._tokens = Counter(
            "deepprune_generated_tokens", "Tokens generated, by fate", tag_keys=("policy", "fate")
        )
        self._traces = Counter(
            "deepprune_traces", "Traces ended, by fate", tag_keys=("policy", "fate")
        )
        self._judge_tokens = Counter(
            "deepprune_judge_tokens",
            "Prompt tokens of the judge, computed or from its prefix cache",
            tag_keys=("policy", "kind"),
        )
        self._late_tokens = Counter(
            "deepprune_late_tokens",
            "Tokens generated between the decision to cancel and its effect",
            tag_keys=("policy",),
        )
        self._problems = Counter(
            "deepprune_problems", "Problems solved", tag_keys=("policy", "complete")
        )
        self._seconds = Histogram(
            "deepprune_problem_seconds",
            "Seconds from launch to vote",
            boundaries=[1, 3, 10, 30, 100, 300, 1000, 3000],
            tag_keys=("policy",),
        )
        self._running = Gauge("deepprune_running_problems", "Problems in flight")

    def running(self, num_problems: int) -> None:
        """Set how many problems are in flight."""
        self._running.set(num_problems)

    def solved(self, outcome: Outcome) -> None:
        """Add a problem's bill."""
        ledger, policy = outcome.ledger, {"policy": outcome.policy}
        for fate in Fate:
            tags = policy | {"fate": fate.value}
            _add(self._tokens, getattr(ledger, f"{fate.value}_tokens"), tags)
            _add(self._traces, getattr(ledger, f"{fate.value}_traces"), tags)
        _add(self._judge_tokens, ledger.judge_computed_tokens, policy | {"kind": "computed"})
        _add(self._judge_tokens, ledger.judge_cached_tokens, policy | {"kind": "cached"})
        _add(self._late_tokens, ledger.late_tokens, policy)
        self._problems.inc(1, policy | {"complete": str(outcome.complete).lower()})
        self._seconds.observe(ledger.wall_s, policy)


def _add(counter: Counter, value: float, tags: dict[str, str]) -> None:
    if value:  # Ray's counters refuse to be increased by nothing
        counter.inc(value, tags)
