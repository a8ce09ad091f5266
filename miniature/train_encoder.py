"""Train the encoder judge on the pairs that the pairwise judge was trained on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import torch

from actors.prefix_encoder import SavedEncoder
from miniature.judge_spec import CHECKPOINT_TOKENS
from miniature.judging import Pair
from miniature.model import load_model, save_model
from miniature.tokenizer import load_tokenizer
from training.calibration import sigmoid
from training.config import TrainConfig, load
from training.data import load_pairs
from training.encoder_run import train_encoder

CONFIG = "miniature-encoder"
CPU = torch.device("cpu")

logger = logging.getLogger(__name__)


def train_encoder_judge(
    pairs: Path, reasoner: Path, folder: Path, scale: float = 1.0, seed: int = 0
) -> float:
    """Train it on a folder of pairs, save it in float16, and return its threshold.

    `scale` multiplies the number of epochs.
    """
    config = load(TrainConfig, CONFIG, {"model": str(reasoner), "seed": seed})
    config = config.model_copy(update={"epochs": config.epochs * scale})
    losses: list[float] = []

    def seen(loss: float) -> None:
        losses.append(loss)
        if len(losses) % 200 == 0:
            logger.info("encoder: step %d, loss %.3f", len(losses), sum(losses[-200:]) / 200)

    training, validation = (load_pairs(pairs, [split]) for split in ("train", "validation"))
    checkpoint = f"tokens:{CHECKPOINT_TOKENS}"
    settings = train_encoder(config, training, validation, folder, checkpoint, CPU, seen)
    save_model(load_model(folder), load_tokenizer(reasoner), folder)
    return settings.tau or 0.5


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
