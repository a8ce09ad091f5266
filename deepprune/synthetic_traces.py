"""Traces to plan with: recorded ones drawn anew, or made up from a distribution of lengths."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace

from deepprune.plan_config import LengthsConfig
from deepprune.recordings import RecordedTrace, Recording
from deepprune.traces import Problem


def resampled_recordings(
    recordings: Sequence[Recording],
    num_problems: int,
    num_traces: int,
    *,
    length_scale: float = 1.0,
    seed: int = 0,
) -> list[Recording]:
    """As many problems as wanted, each with traces drawn with replacement from a recorded one."""
    made = []
    for number in range(num_problems):
        source = recordings[number % len(recordings)]
        rng = random.Random(f"{seed}/{number}")
        traces = tuple(
            replace(trace, sample=sample, num_tokens=max(1, round(trace.num_tokens * length_scale)))
            for sample, trace in enumerate(rng.choices(source.traces, k=num_traces))
        )
        problem = replace(source.problem, problem_id=f"{source.problem.problem_id}#{number}")
        made.append(Recording(problem, source.model, traces))
    return made


def synthetic_recordings(
    lengths: LengthsConfig,
    num_problems: int,
    num_traces: int,
    *,
    max_tokens: int,
    length_scale: float = 1.0,
    seed: int = 0,
) -> list[Recording]:
    """Problems whose traces have the wanted lengths and agree as often as wanted."""
    mean = lengths.mean_tokens * length_scale
    location = math.log(mean) - lengths.spread**2 / 2
    made = []
    for number in range(num_problems):
        rng = random.Random(f"{seed}/{number}")
        traces = []
        for sample in range(num_traces):
            leads = rng.random() < lengths.leader_share
            answer = 0 if leads else rng.randint(1, lengths.wrong_answers)
            tokens = rng.lognormvariate(location, lengths.spread)
            traces.append(
                RecordedTrace(sample, "", min(max_tokens, max(1, round(tokens))), str(answer))
            )
        made.append(Recording(Problem(f"planned/{number}", "", "0"), "planned", tuple(traces)))
    return made
