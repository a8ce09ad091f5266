"""Policies: state machines that decide which traces are launched, judged, cancelled, finished."""

from __future__ import annotations

from deepprune.policies.adaptive import Adaptive
from deepprune.policies.base import Policy
from deepprune.policies.cons import Cons
from deepprune.policies.deepconf import DeepConf
from deepprune.policies.deepprune import DeepPrune
from deepprune.policies.esc import Esc
from deepprune.policies.mmc import Certificate
from deepprune.policies.plus import DeepPrunePlus
from deepprune.policies.short import Short
from deepprune.policies.voting_plus import VotingPlus
from deepprune.policy_config import (
    AdaptiveConfig,
    ConsConfig,
    DeepConfConfig,
    EscConfig,
    PaperRules,
    PlusConfig,
    PolicyConfig,
)
from deepprune.promise import Promise, Terms
from deepprune.split_prior import shipped
from deepprune.stopping_config import CertificateConfig, ShortConfig

__all__ = [
    "Adaptive",
    "Certificate",
    "Cons",
    "DeepConf",
    "DeepPrune",
    "DeepPrunePlus",
    "Esc",
    "Policy",
    "Short",
    "VotingPlus",
    "make_policy",
    "promise_of",
]


def make_policy(config: PolicyConfig, seed: int, terms: Terms | None = None) -> Policy:
    """Build the policy object for one problem, of a sweep on its `terms` or by itself."""
    match config:
        case ConsConfig():
            return Cons(config)
        case EscConfig():
            return Esc(config)
        case AdaptiveConfig():
            return Adaptive(config)
        case ShortConfig():
            return Short(config)
        case CertificateConfig():
            return Certificate(config)
        case DeepConfConfig():
            return DeepConf(config)
        case PaperRules():
            return DeepPrune(config, seed)
        case PlusConfig() if config.votes_only:
            return VotingPlus(config, terms or promise_of(config).terms)
        case PlusConfig():
            return DeepPrunePlus(config, terms or promise_of(config).terms)


def promise_of(config: PlusConfig) -> Promise:
    """The promise of a sweep, or of a problem by itself."""
    return Promise(config.risk, config.prior or shipped())
