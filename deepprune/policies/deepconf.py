"""DeepConf: drop traces of low confidence, weigh the rest by it (Fu et al. 2025).

The confidence of a trace is its lowest group confidence, the least of the readings its generator
takes (`actors/generators/confidence.py`).
"""

from __future__ import annotations

import math
from collections import defaultdict

from deepprune.events import (
    Cancel,
    Command,
    Decision,
    Event,
    Failed,
    Finished,
    Launch,
    Progress,
    Stop,
)
from deepprune.policy_config import DeepConfConfig
from deepprune.voting import Vote


class DeepConf:
    """Online: a warm-up sets the threshold, later traces end where they fall below it."""

    pauses = False

    def __init__(self, config: DeepConfConfig) -> None:
        self._config = config
        first = config.warmup if config.online else config.num_traces
        self._wave = range(min(first, config.num_traces))
        self._unlaunched = range(config.num_traces)[len(self._wave) :]
        self._running: set[int] = set()
        self._lowest: dict[int, float] = defaultdict(lambda: math.inf)
        self._answers: dict[int, str | None] = {}
        self._threshold: float | None = None

    def start(self) -> list[Command]:
        """Launch the warm-up, or all traces when offline."""
        return self._launch(self._wave)

    def handle(self, event: Event) -> list[Command]:
        """Follow the confidence of running traces; count those that end."""
        match event:
            case Progress(sample=sample, confidence=confidence):
                self._lowest[sample] = min(self._lowest[sample], *confidence)
                if self._threshold is None or self._lowest[sample] >= self._threshold:
                    return []
                self._running.remove(sample)
                return [Cancel(sample, "low confidence"), *self._advance()]
            case Finished(sample=sample, answer=answer):
                self._running.remove(sample)
                self._answers[sample] = answer
                return self._advance()
            case Failed(sample=sample):
                self._running.remove(sample)
                return self._advance()
        return []

    def decision(self) -> Decision:
        """The answer with most confidence behind it, among the traces that are kept."""
        groups = self._weighted()
        if not groups:
            return Decision(None)
        return Decision(
            groups[0][0],
            tuple((answer, samples) for answer, samples, _ in groups),
            weights=tuple(weight for _, _, weight in groups),
        )

    # --- sampling -------------------------------------------------------------------------------

    def _advance(self) -> list[Command]:
        if self._threshold is None:
            if self._running:
                return []
            self._threshold = self._percentile()
        if self._consensus or (not self._running and not self._unlaunched):
            return [Stop("consensus" if self._consensus else "all sampled")]
        size = self._config.wave - len(self._running)
        wave, self._unlaunched = self._unlaunched[:size], self._unlaunched[size:]
        return self._launch(wave)

    def _launch(self, wave: range) -> list[Command]:
        self._running.update(wave)
        return [Launch(sample, to_end=True) for sample in wave]

    def _percentile(self) -> float:
        """The lowest confidence that the kept share of the finished traces stays at or above."""
        lowest = (self._lowest[sample] for sample in self._answers)
        finished = sorted(filter(math.isfinite, lowest), reverse=True)
        if not finished:
            return -math.inf
        return finished[max(1, round(self._config.keep_share * len(finished))) - 1]

    def _confidence(self, sample: int) -> float:
        """Nothing speaks against a trace without a reading: it counts as the least that is kept."""
        lowest = self._lowest[sample]
        if math.isfinite(lowest):
            return lowest
        if self._threshold is None or not math.isfinite(self._threshold):
            return 1.0
        return self._threshold

    @property
    def _consensus(self) -> bool:
        if not self._config.online:
            return False
        weights = [weight for _, _, weight in self._weighted()]
        return bool(weights) and weights[0] >= self._config.consensus * sum(weights)

    # --- voting ---------------------------------------------------------------------------------

    def _weighted(self) -> list[tuple[str, tuple[int, ...], float]]:
        """Answers of kept traces, with samples and summed confidence, the heaviest first."""
        vote = Vote()
        for sample, answer in sorted(self._answers.items()):
            if self._threshold is None or self._confidence(sample) >= self._threshold:
                vote.add(sample, answer)
        weighted = [
            (answer, samples, sum(self._confidence(sample) for sample in samples))
            for answer, samples in vote.groups
        ]
        return sorted(weighted, key=lambda group: (-group[2], group[1][0]))
