"""Losses on the answer token of a generative judge (Section 4.1.2).

A judge's answer is read from two tokens, so its logits are (batch, 2): the token for "different"
first, the one for "same" second. Both losses are over these two, which is what serving reads: with
z = logit(same) - logit(different), P(same) = 1 / (1 + exp(-z)).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from training.config import LossConfig

if TYPE_CHECKING:
    from torch import Tensor


def pair_loss(logits: Tensor, same: Tensor, config: LossConfig) -> Tensor:
    """The configured loss, averaged over the batch, in float32.

    Args:
        logits: (batch, 2), the answers' logits, "different" first.
        same: (batch,), 1 where the pair agrees.
        config: which loss.
    """
    return verdict_loss((logits[:, 1] - logits[:, 0]).float(), same, config)


def verdict_loss(z: Tensor, same: Tensor, config: LossConfig) -> Tensor:
    """The configured loss of log-odds z of P(same), (batch,), averaged over the batch."""
    if config.kind == "focal":
        return focal_loss(z, same, config.gamma, config.alpha)
    return cross_entropy(z, same)


def focal_loss(z: Tensor, same: Tensor, gamma: float = 2.0, alpha: float = 0.25) -> Tensor:
    """Mean of -a (1 - p)^gamma log p, with p the probability of what is true.

    The paper gives one alpha, 0.25, and says that the loss turns to pairs that differ. So `alpha`
    is the weight a of pairs that agree, 80% of its data, and pairs that differ weigh 1 - alpha.

    Args:
        z: (batch,), log-odds of P(same).
        same: (batch,), 1 where the pair agrees.
        gamma: 0 leaves a weighted cross-entropy.
        alpha: between 0 and 1.
    """
    log_p = _log_p_true(z, same)
    agrees = same.to(z.dtype)
    weight = alpha * agrees + (1 - alpha) * (1 - agrees)
    # 1 - p from its own logarithm: 1 - exp(log p) has no digits left where p is close to 1.
    log_rest = _log_p_true(-z, same)
    focus = (gamma * log_rest).exp()
    return -(weight * focus * log_p).mean()


def cross_entropy(z: Tensor, same: Tensor) -> Tensor:
    """Mean of -log p, with p the probability of what is true."""
    return -_log_p_true(z, same).mean()


def _log_p_true(z: Tensor, same: Tensor) -> Tensor:
    from torch.nn.functional import logsigmoid

    return logsigmoid(z * (2 * same.to(z.dtype) - 1))
