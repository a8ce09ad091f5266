"""Train the encoder judge on the pairs that the pairwise judge was trained on."""

from __future__ import annotations

import logging
from pathlib import Path

from actors.encoder_config import EncoderSettings
from miniature.judge_spec import CHECKPOINT_TOKENS
from miniature.model import load_model, save_model
from miniature.tokenizer import load_tokenizer
from miniature.train_judge import PAIRS, log_step
from training.config import TrainConfig, load

CONFIG = "miniature-encoder"

logger = logging.getLogger(__name__)


def train_encoder_judge(
    work: Path, reasoner: Path, folder: Path, scale: float = 1.0, seed: int = 0
) -> float:
    """Train it on the pairs in `work`, save it in float16, and return its threshold.

    `scale` multiplies the number of epochs.
    """
    from actors.deploy.connection import connected
    from training.learners.run import fetch_best, run

    config = load(TrainConfig, CONFIG, {"model": str(reasoner), "seed": seed})
    config = config.model_copy(update={"epochs": config.epochs * scale})
    checkpoint, storage = f"tokens:{CHECKPOINT_TOKENS}", str(work / "encoder-checkpoints")
    with connected(None):
        result = run(config, work / PAIRS, checkpoint, storage, log_step)
        logger.info("the best encoder is that of step %d", fetch_best(result, folder))
    save_model(load_model(folder), load_tokenizer(reasoner), folder)
    return EncoderSettings.load(folder).tau or 0.5
