"""How fast an engine is: what a step of decoding takes, and so what many steps take."""

from __future__ import annotations

import math

from pydantic import Field

from deepprune.section import Section


class Efficiency(Section):
    """Which share of a GPU's datasheet an engine gets, and what a step costs beside.

    The defaults are assumptions in the usual range, not measurements of ours.
    """

    bandwidth: float = Field(0.7, gt=0, le=1)
    """Of the memory's bandwidth, while decoding."""
    compute: float | None = Field(None, gt=0, le=1)
    """Of the arithmetic, in decoding batches and in prefill. Absent: the GPU's own, in
    `cluster/gpu_specs.py`."""
    step_s: float = Field(0.003, ge=0)
    """Scheduling, launching kernels and talking between shards, each step."""
    step_s_per_trace: float = Field(1e-5, ge=0)
    """Sampling and bookkeeping for each trace, each step."""
    memory: float = Field(0.9, gt=0, le=1)
    """Of the memory, for weights and cache together (vLLM's gpu_memory_utilization)."""


class SpeedConfig(Section):
    """How fast the replayed engines are; the defaults are round numbers, not a measurement.

    A step reads the weights and the keys and values of all traces in the batch, and computes a
    token for each. Reading and computing overlap, so it takes the longer of the two (the roofline):

        max(step_s + step_s_per_context_token x context, compute_s_per_trace x traces)
            + step_s_per_trace x traces
    """

    streams: int = Field(512, ge=1)
    """Traces decoded at the same time; further ones wait for a slot."""
    cache_tokens: float | None = Field(None, gt=0)
    """Tokens whose keys and values fit into memory. A trace is reckoned with its mean length while
    it decodes: an engine admits more when they are short, and preempts some when they are long.
    Absent: there is room for all `streams`."""
    step_s: float = Field(0.02, ge=0)
    """Seconds a decoding step takes however few traces there are: reading the weights."""
    step_s_per_context_token: float = Field(0.0, ge=0)
    """Seconds that each token of the traces in the batch adds: reading its keys and values."""
    compute_s_per_trace: float = Field(0.0, ge=0)
    """Seconds of arithmetic for each trace in the batch."""
    step_s_per_trace: float = Field(0.0001, ge=0)
    """Seconds that each trace in the batch adds in any case."""
    prefill_tokens_per_s: float | None = Field(None, gt=0)
    """Tokens of prompts, or of prefixes that the cache has lost, read per second while decoding
    stands still. Absent: that takes no time."""
    judge_s: float = Field(0.05, ge=0)
    """Seconds before the answer to a judge call, however short."""
    judge_tokens_per_s: float = Field(50_000, gt=0)
    """Tokens a second that one judge reads."""

    def seconds(self, steps: float, num_traces: int, context: float = 0) -> float:
        """What `steps` take, while `num_traces` with `context` tokens in all grow by one a step."""
        reading, growth, floor, fixed = self._terms(num_traces, context)
        if reading >= floor:
            return fixed * steps + (reading + growth * steps / 2) * steps
        flat = steps if growth == 0 else min(steps, (floor - reading) / growth)
        rest = steps - flat
        return fixed * steps + floor * flat + (floor + growth * rest / 2) * rest

    def steps(self, seconds: float, num_traces: int, context: float = 0) -> float:
        """How many steps `seconds` are enough for: the inverse of `seconds`."""
        reading, growth, floor, fixed = self._terms(num_traces, context)
        flat = 0.0
        if reading < floor:
            flat = seconds / (fixed + floor)
            if growth == 0 or flat <= (floor - reading) / growth:
                return flat
            flat, reading = (floor - reading) / growth, floor
            seconds -= (fixed + floor) * flat
        speed = fixed + reading
        if growth == 0:
            return flat + seconds / speed
        # growth/2 x steps^2 + speed x steps = seconds, in the form that loses no digits
        return flat + 2 * seconds / (speed + math.sqrt(speed**2 + 2 * growth * seconds))

    def prefill_s(self, tokens: int) -> float:
        """Seconds that reading so many new tokens takes."""
        return tokens / self.prefill_tokens_per_s if self.prefill_tokens_per_s else 0.0

    def _terms(self, num_traces: int, context: float) -> tuple[float, float, float, float]:
        """Seconds of a step: reading, its growth per step, arithmetic, and what comes on top."""
        return (
            self.step_s + self.step_s_per_context_token * context,
            self.step_s_per_context_token * num_traces,
            self.compute_s_per_trace * num_traces,
            self.step_s_per_trace * num_traces,
        )
