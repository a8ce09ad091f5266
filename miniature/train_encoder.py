"""Train the encoder judge on the pairs that the pairwise judge was trained on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import torch

from actors.encoder_config import EncoderSettings
from actors.judges.prefix_encoder import SavedEncoder
from deepprune.statistics import sigmoid
from miniature.judge_spec import CHECKPOINT_TOKENS
from miniature.judging import Pair
from miniature.model import load_model, save_model
from miniature.tokenizer import load_tokenizer
from miniature.train_judge import PAIRS, say
from training.config import TrainConfig, load

CONFIG = "miniature-encoder"
CPU = torch.device("cpu")

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
        result = run(config, work / PAIRS, checkpoint, storage, say)
        logger.info("the best encoder is that of step %d", fetch_best(result, folder))
    save_model(load_model(folder), load_tokenizer(reasoner), folder)
    return EncoderSettings.load(folder).tau or 0.5


def encoder_scores(folder: Path, problems: Sequence[str], pairs: Sequence[Pair]) -> list[float]:
    """P(same) of each pair, whose `problem` is a place in `problems`."""
    encoder = SavedEncoder(folder, CPU)
    texts = list(dict.fromkeys((p.problem, text) for p in pairs for text in (p.first, p.second)))
    place = {text: i for i, text in enumerate(texts)}
    vectors = encoder.encode([encoder.token_ids(problems[j], text) for j, text in texts])
    first = vectors[[place[p.problem, p.first] for p in pairs]]
    second = vectors[[place[p.problem, p.second] for p in pairs]]
    scores: list[float] = sigmoid(encoder.log_odds(first, second)).tolist()
    return scores
