"""Policies: state machines that decide which traces are launched, judged, cancelled, finished."""

from __future__ import annotations

from deepprune.policies.adaptive import Adaptive
from deepprune.policies.base import Policy
from deepprune.policies.cons import Cons
from deepprune.policies.deepconf import DeepConf
from deepprune.policies.deepprune import DeepPrune
from deepprune.policies.esc import Esc
from deepprune.policies.plus import DeepPrunePlus
from deepprune.policy_config import (
    AdaptiveConfig,
    ConsConfig,
    DeepConfConfig,
    EscConfig,
    PaperRules,
    PlusConfig,
    PolicyConfig,
)

__all__ = [
    "Adaptive",
    "Cons",
    "DeepConf",
    "DeepPrune",
    "DeepPrunePlus",
    "Esc",
    "Policy",
    "make_policy",
]


def make_policy(config: PolicyConfig, seed: int) -> Policy:
    """Build the policy object for one problem."""
    match config:
        case ConsConfig():
            return Cons(config)
        case EscConfig():
            return Esc(config)
        case AdaptiveConfig():
            return Adaptive(config)
        case DeepConfConfig():
            return DeepConf(config)
        case PaperRules():
            return DeepPrune(config, seed)
        case PlusConfig():
            return DeepPrunePlus(config)
