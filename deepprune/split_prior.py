"""The prior over splits: how likely each is before a problem's first vote.

A prior is a tuple of weights, one for each way (a slope and one of `deepprune.splits.SPLITS`), that
add up to 1. One of splits alone takes the slopes of `SLOPE_WEIGHTS`. The shipped one is half
uniform over splits and half learned from two recordings with an open licence, an easy and a hard
one. `learn` learns another from the votes of recorded problems, full votes or partial ones: where a
vote stopped depends on votes and lengths alone, so that stopping does not bias it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from deepprune.errors import UserError
from deepprune.splits import NUM_WAYS, SPLITS, with_slopes
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
    """Weights of all ways, that add up to 1, from weights of ways or of splits.

    Raises:
        UserError: they are as many as neither, or not numbers above 0.
    """
    numbers = all(isinstance(weight, int | float) and weight > 0 for weight in weights)
    if len(weights) not in (len(SPLITS), NUM_WAYS) or not numbers:
        raise UserError(f"{source}: a prior has {len(SPLITS)} or {NUM_WAYS} weights, all above 0")
    array = np.array(weights, dtype=np.float64)
    if len(array) == len(SPLITS):
        array = with_slopes(array)
    total = float(array.sum())
    return tuple((array if math.isclose(total, 1.0) else array / total).tolist())


def write(path: Path, weights: Weights) -> None:
    """Write a prior's file."""
    path.write_text(json.dumps({"weights": [float(f"{w:.6g}") for w in weights]}) + "\n")


def learn(log_likelihoods: Floats, prior: Floats, strength: float, steps: int = _STEPS) -> Floats:
    """The most likely weights, (ways,), by expectation maximisation.

    `log_likelihoods`: (problems, ways), of each problem's votes. `prior`: (ways,), counts as
    `strength` further problems.
    """
    likelihoods = np.exp(log_likelihoods - log_likelihoods.max(axis=1, keepdims=True))
    weights = prior
    for _ in range(steps):
        belongs = weights * likelihoods
        belongs /= belongs.sum(axis=1, keepdims=True)
        weights = (belongs.sum(axis=0) + strength * prior) / (len(belongs) + strength)
    return weights
