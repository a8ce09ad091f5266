"""The prior over splits: how likely each is before a problem's first vote.

A prior is a tuple of weights, one for each of `deepprune.splits.SPLITS`, that add up to 1. The
shipped one is half uniform and half learned from two recordings with an open licence, an easy and a
hard one. `learn` learns another from the votes of recorded problems, full votes or partial ones:
where a vote stopped depends on the votes alone, so that stopping does not bias it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from deepprune.errors import UserError
from deepprune.splits import SPLITS
from deepprune.statistics import Floats

Weights = tuple[float, ...]
_FILE = Path(__file__).with_name("split_prior.json")
_STEPS = 100


@lru_cache(maxsize=1)
def shipped() -> Weights:
    """The weights of the prior that comes with this package."""
    return read(_FILE)


def read(path: str | Path) -> Weights:
    """The weights in a prior's file.

    Raises:
        UserError: the file is missing, or holds no prior.
    """
    hint = "learn one with `deepprune prior`"
    try:
        weights = json.loads(Path(path).expanduser().read_text())["weights"]
    except FileNotFoundError:
        raise UserError(f"there is no prior {path}: {hint}") from None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path} is no prior: {hint}") from None
    return checked(weights, str(path))


def checked(weights: Sequence[float], source: str) -> Weights:
    """Weights that add up to 1.

    Raises:
        UserError: they are not as many as there are splits, or not numbers above 0.
    """
    numbers = all(isinstance(weight, int | float) and weight > 0 for weight in weights)
    if len(weights) != len(SPLITS) or not numbers:
        raise UserError(f"{source}: a prior has {len(SPLITS)} weights, all above 0")
    total = sum(weights)
    return tuple(weight / total for weight in weights)


def write(path: Path, weights: Weights) -> None:
    """Write a prior's file."""
    path.write_text(json.dumps({"weights": [round(w, 6) for w in weights]}) + "\n")


def learn(log_likelihoods: Floats, prior: Floats, strength: float, steps: int = _STEPS) -> Floats:
    """The most likely weights, (splits,), by expectation maximisation.

    `log_likelihoods`: (problems, splits), of each problem's votes. `prior`: (splits,), counts as
    `strength` further problems.
    """
    likelihoods = np.exp(log_likelihoods - log_likelihoods.max(axis=1, keepdims=True))
    weights = prior
    for _ in range(steps):
        belongs = weights * likelihoods
        belongs /= belongs.sum(axis=1, keepdims=True)
        weights = (belongs.sum(axis=0) + strength * prior) / (len(belongs) + strength)
    return weights
