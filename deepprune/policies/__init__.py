"""Policies: state machines that decide which traces are launched, judged, cancelled, finished."""

from __future__ import annotations

from deepprune.config import ConsConfig, DeepPruneConfig, PolicyConfig
from deepprune.policies.base import Policy
from deepprune.policies.cons import Cons
from deepprune.policies.deepprune import DeepPrune

__all__ = ["Cons", "DeepPrune", "Policy", "make_policy"]


def make_policy(config: PolicyConfig, seed: int) -> Policy:
    """Build the policy object for one problem."""
    match config:
        case ConsConfig():
            return Cons(config)
        case DeepPruneConfig():
            return DeepPrune(config, seed)
