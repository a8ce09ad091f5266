"""Settings that follow from the hardware and the model, where a configuration leaves them open.

Settings that follow from others of their section are filled when a configuration is parsed
(`deepprune/engine_config.py`). This module fills `max_num_seqs`, which needs the GPU:

    cache tokens / mean tokens that a trace in the batch holds, at most 512

`python -m cluster.settings` prints the table of the shipped configurations in `docs/planning.md`.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable

from cluster.configs import resolve_config, shipped_configs
from cluster.gpu_specs import GPU_SPECS
from cluster.model_shapes import model_shape
from cluster.roofline import free_tokens
from deepprune.config import (
    EngineConfig,
    RunConfig,
    VllmGeneratorConfig,
    VllmJudgeConfig,
    load_config,
)
from deepprune.errors import UserError
from deepprune.plan_config import LengthsConfig

MOST_SLOTS = 512
"""vLLM captures CUDA graphs of batches up to this size; larger ones launch kernel by kernel."""
TYPICAL = LengthsConfig()
"""How long traces are where nothing else is known: log-normal, with this mean and spread."""


def settled(generator: VllmGeneratorConfig, accelerator: str | None = None) -> VllmGeneratorConfig:
    """Fill `max_num_seqs` where it is absent and the GPU and the model are known.

    The GPU is `accelerator`, by default the engine's.
    """
    engine = generator.engine
    room = cache_tokens(engine, accelerator)
    if engine.max_num_seqs is not None or room is None:
        return generator
    slots = min(MOST_SLOTS, max(1, int(room / held_tokens(generator))))
    filled = engine.model_copy(update={"max_num_seqs": slots})
    return generator.model_copy(update={"engine": filled})


def expected_trace_tokens(generator: VllmGeneratorConfig) -> float:
    """Mean length of a trace, as configured or as usual."""
    usual = min(TYPICAL.mean_tokens, generator.sampling.max_tokens / 2)
    return generator.expected_trace_tokens or usual


def held_tokens(generator: VllmGeneratorConfig) -> float:
    """Mean tokens of a trace in a batch: half its length, and long traces are there for longer.

    E[length²] / 2 E[length] of a log-normal; the prompt is shared by the traces of a problem.
    """
    return expected_trace_tokens(generator) * math.exp(TYPICAL.spread**2) / 2


def cache_tokens(engine: EngineConfig, accelerator: str | None = None) -> float | None:
    """Tokens whose keys and values a replica holds on its GPUs; None where they are not known.

    The GPU is `accelerator`, by default the engine's; the model a folder, or one of `MODEL_SHAPES`.
    """
    gpu = GPU_SPECS.get(accelerator or engine.accelerator or "")
    if gpu is None or not engine.gpus_per_shard:
        return None
    try:
        shape = model_shape(engine.model)
    except UserError:
        return None
    return free_tokens(gpu, engine.shards, shape, engine.gpu_memory_utilization)


def settings_table(names: Iterable[str]) -> str:
    """Tabulate the settings of shipped configurations on known GPUs, in Markdown."""
    lines = [
        "| configuration | cache of a replica | expected trace | held by a trace | `max_num_seqs` "
        "| slots of all replicas | `max_problems` | `progress_s` | the judge's step |",
        "| :-- " + "| --: " * 8 + "|",
    ]
    lines += [row for name in names if (row := _row(name, load_config(resolve_config(name))))]
    return "\n".join(lines)


def _row(name: str, run: RunConfig) -> str | None:
    generator, judge = run.generator, run.judge
    if not isinstance(generator, VllmGeneratorConfig):
        return None
    room = cache_tokens(generator.engine)
    if room is None:
        return None
    slots = settled(generator).engine.slots
    step = judge.engine.max_num_batched_tokens if isinstance(judge, VllmJudgeConfig) else None
    cells = (
        f"`{name}`",
        f"{room:,.0f}",
        f"{expected_trace_tokens(generator):,.0f}",
        f"{held_tokens(generator):,.0f}",
        f"{slots}",
        f"{slots * generator.replicas.max:,}",
        f"{run.limits.max_problems}",
        f"{generator.progress_s:g} s",
        "–" if step is None else f"{step:,}",
    )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.stdout.write(settings_table(path.stem for path in shipped_configs()) + "\n")
