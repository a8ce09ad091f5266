"""Settings of rules that decide when a vote has enough traces."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from deepprune.section import Section

Latency = Literal["tokens", "balanced", "fast"]
AHEAD: dict[Latency, float] = {"tokens": 1.0, "balanced": 2.0, "fast": 3.0}


class AheadConfig(Section):
    """How many traces run beyond those that could settle the vote."""

    latency: Latency | None = None
    """`tokens` runs no trace that one at a time would have saved, `balanced` twice as many, and
    `fast` three times; none waits for a wave. Absent: waves, as published."""
    ahead: float | None = Field(None, ge=1)
    """Traces running, in parts of those that could settle the vote. Replaces `latency`."""

    @property
    def traces_ahead(self) -> float | None:
        """Traces running, in parts of those that could settle the vote; None to wait for waves."""
        if self.ahead is not None or self.latency is None:
            return self.ahead
        return AHEAD[self.latency]


class ShortConfig(Section):
    """short-m@k (Hassid et al. 2025): of k = `num_traces` parallel traces, the first m to end vote.

    A tie goes to the answer that came first.
    """

    name: Literal["short-m@k"]
    num_traces: int = Field(512, ge=1)
    m: int = Field(3, ge=1)
    """Traces that vote."""


class CertificateConfig(Section):
    """Martingale Majority Certificate (Cordero-Encinar and Duncan 2025): stop once certified.

    The certificate holds at any time: with probability 1 - `delta` the leader is the model's most
    frequent answer.
    """

    name: Literal["mmc"]
    num_traces: int = Field(512, ge=1)
    delta: float = Field(0.05, gt=0, lt=1)
    """Accepted probability that the certificate is wrong."""
