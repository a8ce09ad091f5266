"""A plan: which sweep to predict, on which mixes of nodes."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from pydantic import Field, PositiveInt, field_validator, model_validator

from deepprune.answers import AnswerKind
from deepprune.loading import read_yaml, validated
from deepprune.policy_config import (
    ConsConfig,
    JudgingConfig,
    OracleConfig,
    PlusConfig,
    PolicyConfig,
)
from deepprune.section import Section
from deepprune.speed import Efficiency, SpeedConfig


class LengthsConfig(Section):
    """Traces to plan with where none are recorded yet: lengths are log-normal, answers random."""

    mean_tokens: float = Field(12_000, gt=0)
    spread: float = Field(0.6, ge=0)
    """Standard deviation of the logarithm of the length: 0.6 has one in ten twice the mean."""
    agreement: float = Field(0.6, gt=0.12, le=1)
    """P(two traces of a problem give the same answer)."""
    wrong_answers: int = Field(8, ge=1)
    """Other answers that the rest is spread over evenly."""

    @property
    def leader_share(self) -> float:
        """Share p of the leading answer: p^2 + (1 - p)^2 / wrong_answers is the agreement."""
        others = self.wrong_answers
        return (1 + math.sqrt(max(0.0, 1 - (others + 1) * (1 - self.agreement * others)))) / (
            others + 1
        )


class PlanConfig(Section):
    """What to predict. Traces come from a recording, or are made up from `lengths`."""

    run: str
    """A run configuration, a file or the name of a shipped one: models, shards, budgets."""
    mixes: tuple[dict[str, PositiveInt], ...] = Field(min_length=1)
    """Mixes of nodes to compare, each with nodes by the types of `cluster/node_types.py`."""
    recording: str | None = None
    """Recorded traces, relative to the plan's file; they are drawn from with replacement."""
    lengths: LengthsConfig = LengthsConfig()
    length_scale: float = Field(1.0, gt=0)
    """Times the recorded lengths, where the planned model or benchmark thinks longer."""
    num_problems: int = Field(30, ge=1)
    prompt_tokens: int = Field(200, ge=0)
    policies: tuple[PolicyConfig, ...] = (ConsConfig(), PlusConfig(name="deepprune+"))
    num_traces: int = Field(512, ge=1)
    """Of policies that name none."""
    judge: str | None = None
    """`oracle`, or `noisy:AUROC`: an oracle with noise, of that AUROC. Absent: no judge, and no
    policy that needs one. With a judge, `deepprune+` is planned with it and without."""
    gpus_per_judge: float = Field(8, gt=0)
    """One judge replica for so many GPUs, at least one; policies that ask none need none."""
    max_problems: int | None = Field(None, ge=1)
    """Problems in flight. Absent: as many as the run's `limits.max_problems`."""
    prices: dict[str, float] = Field({})
    """What an hour of a node costs, by its type, in any currency. Absent: cost is in GPU-hours."""
    within_h: float | None = Field(None, gt=0)
    """Only mixes that are done within so many hours may be the cheapest."""
    efficiency: Efficiency = Efficiency()
    speed: SpeedConfig | None = None
    """How fast one replica is where that was measured: replaces what hardware and models say."""
    answer_kind: AnswerKind = "auto"
    chars_per_token: float = Field(3.6, gt=0)
    seed: int = 0

    @field_validator("judge")
    @classmethod
    def _known(cls, judge: str | None) -> str | None:
        if judge is not None and not re.fullmatch(r"oracle|noisy:(0\.\d+|1\.0)", judge):
            raise ValueError(f"{judge!r} is no judge to plan with: oracle, or noisy:0.7")
        return judge

    @model_validator(mode="after")
    def _priced_all_or_none(self) -> PlanConfig:
        named = {name for mix in self.mixes for name in mix}
        if self.prices and (missing := sorted(named - self.prices.keys())):
            raise ValueError(f"prices lack {', '.join(missing)}: price all node types, or none")
        if any(not mix for mix in self.mixes):
            raise ValueError("a mix has no nodes")
        asking = next((p.name for p in self.policies if p.name == "deepprune"), None)
        if asking and self.judge is None:
            raise ValueError(f"policy {asking} asks a judge: set judge, such as noisy:0.7")
        return self

    def cells(self) -> tuple[tuple[PolicyConfig, str | None], ...]:
        """Each policy with the judge that it asks (None: no judge), once or twice.

        Policies that name no `num_traces` are given the plan's.
        """
        cells: list[tuple[PolicyConfig, str | None]] = []
        for given in self.policies:
            policy = given
            if "num_traces" not in given.model_fields_set:
                settings = given.model_dump(exclude_unset=True)
                named = {"name": given.name, "num_traces": self.num_traces}
                policy = type(given).model_validate(settings | named)
            asks = isinstance(policy, JudgingConfig) and policy.asks_judge
            if not asks or isinstance(policy, PlusConfig):
                cells.append((policy, None))
            if isinstance(policy, OracleConfig):
                cells.append((policy, "oracle"))
            elif asks and self.judge is not None:
                cells.append((policy, self.judge))
        return tuple(cells)


def load_plan(path: Path, overrides: dict[str, Any] | None = None) -> PlanConfig:
    """Read a plan's YAML file, with `overrides` (dotted keys) laid over it.

    Raises:
        UserError: the file is missing, is not YAML, or does not validate.
    """
    return validated(PlanConfig, read_yaml(path, overrides), str(path))
