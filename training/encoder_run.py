"""Trains the encoder judge in one process, and saves it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from actors.encoder_settings import HEAD_FILE, EncoderSettings
from actors.language_model import load_language_model, load_tokenizer
from actors.padding import Prompt
from actors.prefix_encoder import PrefixEncoder
from deepprune.errors import UserError
from training.calibration import calibrated, sigmoid
from training.config import TrainConfig
from training.data import PairSet
from training.encoder import encode_prefixes, epochs, score, train_step
from training.engines import PlainEngine
from training.metrics import chosen_tau, mean_auroc
from training.trainer import check_classes, learning_rate

TRACES_PER_PROBLEM = 16
"""Traces of a problem in a step: all their pairs are learned from."""

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def train_encoder(
    config: TrainConfig,
    training: PairSet,
    validation: PairSet,
    folder: Path,
    checkpoint: str,
    device: torch.device,
    seen: Callable[[float], None],
) -> EncoderSettings:
    """Train an encoder judge and save it, as good as it was at its best epoch.

    Of the configuration it uses the model, the loss, the learning rate with its warm-up and cosine,
    `epochs` (over the problems), `pairs_per_step` (rounded to whole problems), `max_tokens` and the
    target error.

    Args:
        config: see above.
        training: pairs to learn from.
        validation: pairs that choose the epoch and the threshold.
        folder: where to save it.
        checkpoint: of the prefixes, which it will say that it was trained on.
        device: to train on.
        seen: told the loss of each step.

    Raises:
        UserError: the training pairs are of one class, or the loss is no number any more.
    """
    check_classes(training)
    tokenizer = load_tokenizer(config.model)
    torch.manual_seed(config.seed)  # the head starts from random numbers
    module = PrefixEncoder(load_language_model(config.model))
    one_step = config.model_copy(update={"pairs_per_batch": config.pairs_per_step})
    engine = PlainEngine(module, one_step, device)
    prompts = encode_prefixes(training.prefixes, tokenizer, config.max_tokens)
    held_out = encode_prefixes(validation.prefixes, tokenizer, config.max_tokens)
    steps = steps_of(config, training)
    same = _agreement(training)
    best: tuple[float, dict[str, torch.Tensor], EncoderSettings] | None = None
    per_epoch = len(steps) // _num_epochs(config)
    for number, members in enumerate(steps, start=1):
        rate = learning_rate(config, number, len(steps))
        loss = train_step(engine, prompts, members, same, one_step, rate)
        if not math.isfinite(loss):
            raise UserError(
                f"the loss of step {number} is {loss}: training stops; lower learning_rate"
            )
        seen(loss)
        if number % per_epoch == 0:
            settings, within = _validated(engine, held_out, validation, config)
            if best is None or within > best[0]:
                weights = {k: v.detach().cpu().clone() for k, v in module.state_dict().items()}
                best = (within, weights, settings)
    assert best is not None
    module.load_state_dict(best[1])
    module.language_model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    torch.save(module.head.state_dict(), folder / HEAD_FILE)
    settings = best[2].model_copy(update={"checkpoint": checkpoint})
    settings.save(folder)
    return settings


def steps_of(config: TrainConfig, training: PairSet) -> list[list[npt.NDArray[np.int64]]]:
    """What `train_encoder` shows in each step: the prefixes of some problems."""
    per_step = max(1, config.pairs_per_step * 2 // TRACES_PER_PROBLEM**2)
    return list(epochs(training, TRACES_PER_PROBLEM, per_step, _num_epochs(config), config.seed))


def _num_epochs(config: TrainConfig) -> int:
    return max(1, math.ceil(config.epochs))


def _validated(
    engine: PlainEngine, prompts: Sequence[Prompt], validation: PairSet, config: TrainConfig
) -> tuple[EncoderSettings, float]:
    """What the validation pairs say of it, and its AUROC within a problem, by prefixes' prompts."""
    if validation.same.all() or not validation.same.any():
        return EncoderSettings(max_tokens=config.max_tokens), 0.0
    both = np.concatenate([validation.first, validation.second])
    used, places = np.unique(both, return_inverse=True)
    logits = score(engine, [prompts[i] for i in used], *np.split(places, 2))
    within = mean_auroc(validation.same, logits, validation.problem)
    scale = calibrated(logits, validation.same)
    p_same = sigmoid(scale.logits(logits))
    settings = EncoderSettings(
        max_tokens=config.max_tokens,
        slope=scale.slope,
        shift=scale.shift,
        tau=chosen_tau(validation.same, p_same, config.target_error),
        base_rate=float(np.clip(validation.same.mean(), 0.001, 0.999)),
        auroc=None if math.isnan(within) else max(0.5, within),
    )
    return settings, 0.0 if math.isnan(within) else within


def _agreement(pairs: PairSet) -> Bools:
    """(prefixes, prefixes): which traces agree. What no pair says follows from those that do."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    num = len(pairs.prefixes)
    agreeing = (pairs.first[pairs.same], pairs.second[pairs.same])
    graph = coo_matrix((np.ones(len(agreeing[0])), agreeing), shape=(num, num))
    _, answer = connected_components(graph, directed=False)
    same: Bools = answer[:, None] == answer[None, :]
    same[pairs.first, pairs.second] = same[pairs.second, pairs.first] = pairs.same
    return same
