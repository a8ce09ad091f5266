"""Scores of an encoder judge's folder, in replays: each prefix is read once."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deepprune.judges import Calibration, Judging, ScoredPairs
from deepprune.statistics import sigmoid

if TYPE_CHECKING:
    from actors.judges.prefix_encoder import SavedEncoder
    from deepprune.checkpoints import CheckpointSpec
    from deepprune.replay_dataset import ReplayDataset


def score_with_encoder(folder: str, dataset: ReplayDataset, checkpoint: CheckpointSpec) -> Judging:
    """P(same) of all pairs of a problem, with the calibration that the judge brings along.

    Raises:
        UserError: the folder holds no whole encoder judge.
    """
    judge = _opened(folder)
    prefixes = dataset.prefixes(checkpoint)
    prompts = [judge.token_ids(dataset.problem.text, text) for text in prefixes.values()]
    vectors = judge.encode(prompts)
    first, second = np.indices((len(prompts), len(prompts))).reshape(2, -1)
    matrix = sigmoid(judge.log_odds(vectors[first], vectors[second]))
    scored = ScoredPairs(tuple(prefixes), matrix.reshape(len(prompts), -1), "prefixes")
    settings = judge.settings  # a judge that was never measured is taken for one that says nothing
    known = Calibration(1.0, 0.0, settings.base_rate or 0.5, settings.auroc or 0.5)
    return Judging(scored, known)


@lru_cache(maxsize=1)
def _opened(folder: str) -> SavedEncoder:
    """One for each process: its weights are read once."""
    from actors.judges.prefix_encoder import SavedEncoder
    from training.offline.scoring import device

    return SavedEncoder(Path(folder), device())
