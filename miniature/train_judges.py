"""Train the judges on traces that the reasoner sampled, by the pipeline that trains any judge.

Both start from the reasoner's weights; `training/configs/` says how each is trained.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from deepprune.schemas import TRACES
from miniature import CHECKPOINT
from miniature.measure import MODEL
from miniature.model import load_model, save_model
from miniature.sample import Sampled
from miniature.tokenizer import load_tokenizer
from training.config import PairsConfig, TrainConfig, load
from training.learners.trainer import StepMetrics
from training.pairs.build import PairsBuild, described
from training.pairs.data import MANIFEST
from training.pairs.scan_sources import scan_sources

CONFIGS = {"judge": "miniature", "encoder": "miniature-encoder"}

logger = logging.getLogger(__name__)


def train_judges(
    sampled: Sequence[Sampled],
    reasoner: Path,
    models: Path,
    pairs_per_problem: int,
    scale: float = 1.0,
    seed: int = 0,
) -> None:
    """Pair the traces and train each judge into its folder in `models`, in float16.

    `scale` multiplies the number of steps.
    """
    from actors.deploy.connection import connected
    from training.learners.run import fetch_best, run

    how = PairsConfig(
        checkpoints=[CHECKPOINT],
        tokenizer=str(reasoner),
        pairs_per_problem=pairs_per_problem,
        test=0,
        oversampling=1,
        seed=seed,
    )
    with tempfile.TemporaryDirectory() as work, connected(None):
        traces, pairs = Path(work) / "traces.parquet", Path(work) / "pairs"
        write_traces(sampled, traces)
        build = PairsBuild([traces], scan_sources([traces]), how, pairs)
        logger.info("cut %d traces", sum(build.cut()))
        logger.info("paired the traces of %d problems", sum(build.pair()))
        (pairs / MANIFEST).write_text(json.dumps(build.manifest(described([traces])), indent=2))
        for name, config_name in CONFIGS.items():
            config = load(TrainConfig, config_name, {"model": str(reasoner), "seed": seed})
            config = config.model_copy(update={"epochs": config.epochs * scale})
            result = run(config, pairs, CHECKPOINT, f"{work}/{name}-checkpoints", log_step)
            folder = models / name
            logger.info("the best %s is that of step %d", name, fetch_best(result, folder))
            save_model(load_model(folder), load_tokenizer(reasoner), folder)


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
