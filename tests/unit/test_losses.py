"""The losses, against formulas written out in float64 without torch, gradients included."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.config import LossConfig
from training.learners.losses import pair_loss

Z = st.floats(-30, 30)


def sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z))


def focal(z: float, same: bool, gamma: float, alpha: float) -> float:
    """Lin et al. (2017), equation 5, with alpha for pairs that agree."""
    p = sigmoid(z) if same else sigmoid(-z)
    return -(alpha if same else 1 - alpha) * (1 - p) ** gamma * math.log(p)


def focal_gradient(z: float, same: bool, gamma: float, alpha: float) -> float:
    """Its derivative by z, by hand: d log p/dz = ±(1 - p), d(1 - p)/dz = ∓p(1 - p)."""
    sign = 1 if same else -1
    p = sigmoid(sign * z)
    weight = alpha if same else 1 - alpha
    return weight * sign * (1 - p) ** gamma * (gamma * p * math.log(p) - (1 - p))


@given(
    st.lists(st.tuples(Z, Z, st.booleans()), min_size=1, max_size=8),
    st.floats(0, 5),
    st.floats(0.05, 0.95),
)
def test_focal_loss_and_its_gradient_are_those_of_the_formula(pairs, gamma, alpha):
    config = LossConfig(kind="focal", gamma=gamma, alpha=alpha)
    logits = torch.tensor([[d, s] for d, s, _ in pairs], dtype=torch.float32, requires_grad=True)
    same = torch.tensor([float(agrees) for _, _, agrees in pairs])
    loss = pair_loss(logits, same, config)
    loss.backward()
    z = [float(np.float32(s) - np.float32(d)) for d, s, _ in pairs]
    expected = [focal(v, agrees, gamma, alpha) for v, (_, _, agrees) in zip(z, pairs, strict=True)]
    slopes = [
        focal_gradient(v, agrees, gamma, alpha) for v, (_, _, agrees) in zip(z, pairs, strict=True)
    ]
    assert loss.item() == pytest.approx(np.mean(expected), rel=2e-4, abs=1e-7)
    assert logits.grad is not None
    gradients = np.array(slopes) / len(pairs)
    np.testing.assert_allclose(logits.grad[:, 1], gradients, rtol=2e-3, atol=1e-6)
    np.testing.assert_allclose(logits.grad[:, 0], -gradients, rtol=2e-3, atol=1e-6)


@given(Z, Z, st.booleans())
def test_cross_entropy_is_that_of_the_two_answers(different, same_logit, same):
    logits = torch.tensor([[different, same_logit]], dtype=torch.float64)
    loss = pair_loss(logits, torch.tensor([float(same)]), LossConfig(kind="cross_entropy"))
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor([int(same)]))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4, abs=1e-6)


def test_alpha_is_the_weight_of_pairs_that_agree():
    logits = torch.zeros(1, 2)
    config = LossConfig(gamma=0, alpha=0.25)
    agreeing, differing = (pair_loss(logits, torch.tensor([v]), config).item() for v in (1.0, 0.0))
    assert differing == pytest.approx(3 * agreeing)
    assert agreeing == pytest.approx(0.25 * math.log(2))


def test_certain_answers_give_finite_gradients():
    logits = torch.tensor([[-500.0, 500.0], [500.0, -500.0]], requires_grad=True)
    for same in ([1.0, 0.0], [0.0, 1.0]):
        logits.grad = None
        pair_loss(logits, torch.tensor(same), LossConfig()).backward()
        assert torch.isfinite(logits.grad).all()
