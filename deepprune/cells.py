"""The key of a cell, a policy with its settings, judge and seed: it joins the tables of a run."""

from __future__ import annotations

import hashlib

from deepprune.policy_config import PolicyConfig


def settings_key(policy: PolicyConfig, judge: str | None) -> str:
    """Identify a policy with its settings and judge, whatever the seed: `cons-0123456789`."""
    text = f"{policy.model_dump_json()}/{judge}"
    return f"{policy.name}-{hashlib.blake2b(text.encode(), digest_size=5).hexdigest()}"


def cell_key(policy: PolicyConfig, judge: str | None, seed: int) -> str:
    """Identify a policy with its settings, judge and seed: `cons-0123456789/0`."""
    return f"{settings_key(policy, judge)}/{seed}"


def seed_of(cell: str | None) -> int | None:
    """The seed in a cell's key; None where no cell is recorded."""
    seed = (cell or "").rpartition("/")[2]
    return int(seed) if seed.isdecimal() else None
