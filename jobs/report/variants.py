"""Variants: a policy with its judge, size and settings, under a label of its own.

A label shows only what differs among the variants of the same policy, and leaves out settings that
have their default.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from deepprune.policy_config import POLICY_NAMES, PolicyConfig
from jobs.render.table import Kind
from jobs.render.text import one_line
from jobs.report.load import Row

COLUMNS = ("name", "num_traces", "checkpoint", "tau")
"""Settings that are columns of their own."""
LIMITS = ("oracle", "noisy:")
"""Judges that know the answers: limits to learn from, not candidates."""
BLIND = "blind"
"""The judge of controls: it gives every pair the same score."""
ABOUT_THE_JUDGE = ("auroc", "base_rate", "least_auroc", "trust")
"""Settings of a policy that say something about its judge, and nothing where there is none."""
MEASURED = ("auroc", "base_rate")
"""Settings that a judge brings along: its name says as much, and labels leave them out."""
CAN_DO_WITHOUT = "deepprune+"
"""The policy that may have a judge, or none."""
MAX_CHARS = 60


@dataclass(frozen=True, slots=True)
class Variant:
    """A policy with everything that may make its outcomes differ; `settings` are JSON by name.

    `run` names the run where two runs hold the same outcomes, and is None otherwise.
    """

    policy: str
    judge: str | None
    num_traces: int | None
    checkpoint: str | None
    tau: float | None
    settings: tuple[tuple[str, str], ...]
    driver: str | None
    run: str | None = None

    @property
    def is_baseline(self) -> bool:
        """Plain self-consistency: every trace is paid for."""
        return self.policy == "cons" and ("stop_when_decided", "true") not in self.settings

    @property
    def is_limit(self) -> bool:
        """Whether a judge took part that knew the answers, which no real one does."""
        judge = self.judge or ""
        return self.policy == "oracle" or judge.startswith(LIMITS)

    @property
    def kind(self) -> Kind:
        """How tables mark it: a limit in italics."""
        return "limit" if self.is_limit else ""

    @property
    def is_control(self) -> bool:
        """Whether its judge is blind: a row to compare with, and no candidate."""
        return self.judge == BLIND

    @property
    def is_noisy(self) -> bool:
        """Whether its judge was made noisy on purpose, to see how good a judge must be."""
        return (self.judge or "").startswith("noisy:")

    @property
    def judge_auroc(self) -> float | None:
        """The AUROC that a noisy judge was given; 1 for a perfect judge."""
        if self.policy == "oracle" or self.judge == "oracle":
            return 1.0
        kind, _, number = (self.judge or "").partition(":")
        try:
            return float(number) if kind == "noisy" else None
        except ValueError:
            return None


def variant_of(row: Row, run: str | None = None) -> Variant:
    """The variant that a row belongs to."""
    return Variant(
        row.policy,
        row.judge,
        row.num_traces,
        row.checkpoint,
        row.tau,
        _settings(row.settings),
        row.driver,
        run,
    )


def in_order(variants: Iterable[Variant]) -> list[Variant]:
    """The baseline first, then the policies as the project lists them."""
    return sorted(set(variants), key=_rank)


def labels(variants: Sequence[Variant]) -> dict[Variant, str]:
    """A short label for each variant, different for all of them."""
    by_policy: dict[str, list[Variant]] = defaultdict(list)
    for variant in variants:
        by_policy[variant.policy].append(variant)
    labelled = {}
    for policy, members in by_policy.items():
        traits = {variant: _traits(variant) for variant in members}
        names = dict.fromkeys(name for of in traits.values() for name in of)
        telling = [
            name
            for name in names
            if name not in MEASURED and len({of.get(name) for of in traits.values()}) > 1
        ]
        for variant in members:
            parts = [traits[variant][name] for name in telling if traits[variant].get(name)]
            labelled[variant] = _label(policy, variant, parts)
    return _made_different(labelled)


def description(variant: Variant) -> str:
    """All that is known of a variant, except settings at their default."""
    return ", ".join(part for part in _traits(variant).values() if part) or "no settings recorded"


def _label(policy: str, variant: Variant, parts: list[str]) -> str:
    name = one_line(policy, MAX_CHARS)
    if policy == "cons" and variant.num_traces is not None:
        name = f"cons@{variant.num_traces}"
        parts = [part for part in parts if part != f"n={variant.num_traces}"]
    return f"{name} ({', '.join(parts)})" if parts else name


def _made_different(labelled: dict[Variant, str]) -> dict[Variant, str]:
    seen: dict[str, int] = defaultdict(int)
    result = {}
    for variant, label in labelled.items():
        seen[label] += 1
        result[variant] = label if seen[label] == 1 else f"{label} #{seen[label]}"
    return result


def _traits(variant: Variant) -> dict[str, str]:
    """What a variant shows under each name; empty where it need not be said."""
    traits = {
        "judge": _short(variant.judge) or ("no judge" if variant.policy == CAN_DO_WITHOUT else ""),
        "num_traces": "" if variant.num_traces is None else f"n={variant.num_traces}",
        "checkpoint": _short(variant.checkpoint),
        "tau": "" if variant.tau is None else f"τ={variant.tau:g}",
    }
    defaults = dict(_settings(_defaults(variant.policy)))
    for name, value in variant.settings:
        shown = name if value == "true" else f"{name}={_short(value)}"
        idle = variant.judge is None and name in ABOUT_THE_JUDGE
        traits[name] = "" if idle or defaults.get(name) == value else shown
    traits["driver"] = _short(variant.driver)
    traits["run"] = _short(variant.run)
    return traits


def _short(text: str | None) -> str:
    """A name on one line; of a path only the last part."""
    if not text:
        return ""
    line = one_line(text.strip('"'), 200)
    return one_line(line.rstrip("/").rpartition("/")[2] or line, MAX_CHARS)


@lru_cache(maxsize=4096)
def _settings(text: str | None) -> tuple[tuple[str, str], ...]:
    try:
        found: Any = json.loads(text or "{}")
    except ValueError:
        return (("settings", one_line(text or "", MAX_CHARS)),)
    if not isinstance(found, dict):
        return ()
    return tuple(
        (one_line(str(name), MAX_CHARS), json.dumps(value, sort_keys=True, ensure_ascii=False))
        for name, value in sorted(found.items())
        if name not in COLUMNS
    )


def _defaults(policy: str) -> str | None:
    adapter: TypeAdapter[Any] = TypeAdapter(PolicyConfig)
    try:
        return str(adapter.validate_python({"name": policy}).model_dump_json())
    except ValidationError:
        return None


def _rank(variant: Variant) -> tuple[Any, ...]:
    known = (
        POLICY_NAMES.index(variant.policy) if variant.policy in POLICY_NAMES else len(POLICY_NAMES)
    )
    return (
        not variant.is_baseline,
        known,
        variant.policy,
        variant.num_traces or 0,
        variant.judge or "",
        variant.checkpoint or "",
        variant.tau or 0.0,
        variant.settings,
        variant.driver or "",
        variant.run or "",
    )
