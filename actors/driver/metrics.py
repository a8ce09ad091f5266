"""Metrics `deepprune_*` of the drivers, for Prometheus and Ray's dashboard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ray.util.metrics import Counter, Gauge, Histogram

from deepprune.ledger import Fate
from deepprune.session import Outcome

if TYPE_CHECKING:
    from actors.driver.live import LiveProblem

WORK = ("model", "policy")


class Metrics:
    """Counters of solved problems, from their ledgers, and gauges of running ones."""

    def __init__(self) -> None:
        self._tokens = Counter(
            "deepprune_generated_tokens", "Tokens generated, by fate", tag_keys=(*WORK, "fate")
        )
        self._traces = Counter(
            "deepprune_traces", "Traces ended, by fate", tag_keys=(*WORK, "fate")
        )
        self._judge_tokens = Counter(
            "deepprune_judge_tokens",
            "Prompt tokens of the judge, computed or from its prefix cache",
            tag_keys=(*WORK, "kind"),
        )
        self._late_tokens = Counter(
            "deepprune_late_tokens",
            "Tokens generated between the decision to cancel and its effect",
            tag_keys=WORK,
        )
        self._trace_seconds = Counter(
            "deepprune_trace_seconds", "Seconds that traces held an engine slot", tag_keys=WORK
        )
        self._judge_seconds = Counter(
            "deepprune_judge_seconds", "Seconds of calls to the judge", tag_keys=WORK
        )
        self._problems = Counter(
            "deepprune_problems", "Problems solved", tag_keys=(*WORK, "complete")
        )
        self._seconds = Histogram(
            "deepprune_problem_seconds",
            "Seconds from launch to vote",
            boundaries=[1, 3, 10, 30, 100, 300, 1000, 3000],
            tag_keys=WORK,
        )
        self._clusters = Histogram(
            "deepprune_clusters",
            "Clusters of a problem",
            boundaries=[1, 2, 4, 8, 16, 32, 64],
            tag_keys=WORK,
        )
        self._running = Gauge("deepprune_running_problems", "Problems in flight")
        self._saved = Counter(
            "deepprune_saved_tokens",
            "Estimate of what all traces would have generated beyond what was",
            tag_keys=WORK,
        )
        self._first_checkpoint = Histogram(
            "deepprune_first_checkpoint_seconds",
            "Seconds from launch to the first trace at its checkpoint",
            boundaries=[0.1, 0.3, 1, 3, 10, 30, 100],
            tag_keys=WORK,
        )
        self._cancel_lag = Histogram(
            "deepprune_cancel_lag_seconds",
            "Seconds from the decision to cancel a trace to its last token",
            boundaries=[0.001, 0.01, 0.03, 0.1, 0.3, 1, 3],
            tag_keys=WORK,
        )
        self._requests = Counter(
            "deepprune_requests", "HTTP requests answered", tag_keys=("path", "status")
        )
        queue = ("model", "replica")
        self._running_requests = Gauge(
            "deepprune_running_requests", "Requests at work in an ingress replica", tag_keys=queue
        )
        self._waiting_requests = Gauge(
            "deepprune_waiting_requests", "Requests that wait for their turn", tag_keys=queue
        )
        self._waiting_traces = Gauge(
            "deepprune_waiting_traces", "Traces that wait for an engine slot", tag_keys=queue
        )

    def running(self, num_problems: int) -> None:
        """Set the number of problems in flight."""
        self._running.set(num_problems)

    def solved(self, outcome: Outcome, model: str) -> None:
        """Add a solved problem's ledger."""
        ledger, tags = outcome.ledger, {"model": model, "policy": outcome.policy}
        for fate in Fate:
            by_fate = tags | {"fate": fate.value}
            _add(self._tokens, getattr(ledger, f"{fate.value}_tokens"), by_fate)
            _add(self._traces, getattr(ledger, f"{fate.value}_traces"), by_fate)
        _add(self._judge_tokens, ledger.judge_computed_tokens, tags | {"kind": "computed"})
        _add(self._judge_tokens, ledger.judge_cached_tokens, tags | {"kind": "cached"})
        _add(self._late_tokens, ledger.late_tokens, tags)
        _add(self._trace_seconds, ledger.trace_s, tags)
        _add(self._judge_seconds, ledger.judge_s, tags)
        self._problems.inc(1, tags | {"complete": str(outcome.complete).lower()})
        self._seconds.observe(ledger.wall_s, tags)
        self._clusters.observe(len(outcome.decision.clusters), tags)

    def served(self, model: str, live: LiveProblem, savings: float | None) -> None:
        """Add a request's savings, a share of tokens, and its latencies."""
        tags = {"model": model, "policy": live.policy.name}
        if savings is not None and 0 < savings < 1:
            generated = live.session.ledger.generated_tokens
            _add(self._saved, generated * savings / (1 - savings), tags)
        if live.first_checkpoint_s is not None:
            self._first_checkpoint.observe(live.first_checkpoint_s, tags)
        for lag_s in live.cancel_lags_s:
            self._cancel_lag.observe(lag_s, tags)

    def answered(self, path: str, status: int) -> None:
        """Count an HTTP request."""
        self._requests.inc(1, {"path": path, "status": str(status)})

    def queues(
        self, tags: dict[str, str], *, running: int, waiting: int, waiting_traces: int
    ) -> None:
        """Set the queue lengths of one model in one ingress replica."""
        self._running_requests.set(running, tags)
        self._waiting_requests.set(waiting, tags)
        self._waiting_traces.set(waiting_traces, tags)


def _add(counter: Counter, value: float, tags: dict[str, str]) -> None:
    if value:  # Ray's counters refuse an increment of 0
        counter.inc(value, tags)
