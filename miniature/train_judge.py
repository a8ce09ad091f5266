"""Train the judge on traces that the reasoner sampled, by the pipeline that trains any judge.

It starts from the reasoner's weights: `training/configs/miniature.yaml` says how it goes on.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from deepprune.schemas import TRACES
from miniature.judge_spec import CHECKPOINT_TOKENS, PROMPT
from miniature.measure import MODEL
from miniature.sample import Sampled
from training.config import PairsConfig, TrainConfig, load
from training.learners.trainer import StepMetrics
from training.pairs.build import PairsBuild, described
from training.pairs.data import MANIFEST
from training.pairs.scan_sources import scan_sources

CONFIG = "miniature"
PAIRS = "pairs"
"""Where the pairs are, in the folder that a training works in."""

logger = logging.getLogger(__name__)


def train_judge(
    sampled: Sequence[Sampled],
    reasoner: Path,
    work: Path,
    pairs_per_problem: int,
    scale: float = 1.0,
    seed: int = 0,
) -> Path:
    """Traces to pairs to a judge, all in the folder `work`; returns the judge's folder.

    `scale` multiplies the number of steps.
    """
    from actors.deploy.connection import connected
    from training.learners.run import fetch_best, run

    checkpoint = f"tokens:{CHECKPOINT_TOKENS}"
    traces, pairs, judge = work / "traces.parquet", work / PAIRS, work / "judge"
    write_traces(sampled, traces)
    how = PairsConfig(
        checkpoints=[checkpoint],
        tokenizer=str(reasoner),
        pairs_per_problem=pairs_per_problem,
        test=0,
        oversampling=1,
        seed=seed,
    )
    settings = {"model": str(reasoner), "prompt": PROMPT.model_dump(), "seed": seed}
    config = load(TrainConfig, CONFIG, settings)
    config = config.model_copy(update={"epochs": config.epochs * scale})
    with connected(None):
        build = PairsBuild([traces], scan_sources([traces]), how, pairs)
        logger.info("cut %d traces", sum(build.cut()))
        logger.info("paired the traces of %d problems", sum(build.pair()))
        (pairs / MANIFEST).write_text(json.dumps(build.manifest(described([traces])), indent=2))
        result = run(config, pairs, checkpoint, str(work / "checkpoints"), log_step)
        logger.info("the best judge is that of step %d", fetch_best(result, judge))
    return judge


def write_traces(sampled: Sequence[Sampled], path: Path) -> None:
    """A recording of sampled traces, as `deepprune collect` writes it."""
    rows = [
        {
            "benchmark": "miniature",
            "problem_id": item.problem.problem_id,
            "problem": item.problem.text,
            "reference": item.problem.reference,
            "model": MODEL,
            "sample": trace.sample,
            "text": trace.text,
            "token_ids": token_ids,
            "num_tokens": trace.num_tokens,
            "finish_reason": trace.finish_reason,
            "fate": "finished",
            "answer": trace.answer,
        }
        for item in sampled
        for trace, token_ids in zip(item.traces, item.token_ids, strict=True)
    ]
    pq.write_table(pa.Table.from_pylist(rows, TRACES), path)


def log_step(step: StepMetrics | str) -> None:
    """Log a step now and then."""
    if isinstance(step, str) or step.step % 50 == 0:
        logger.info("%s", step)
