"""A sweep: every policy under every setting, over the same problems, as a list of cells."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator

from deepprune.answers import AnswerKind, TruncatedAnswers
from deepprune.cells import settings_key
from deepprune.checkpoints import CheckpointSpec
from deepprune.loading import read_yaml, validated
from deepprune.policy_config import (
    DeepPruneConfig,
    JudgingConfig,
    OracleConfig,
    PaperRules,
    PolicyConfig,
)
from deepprune.section import Section
from deepprune.speed import SpeedConfig

_JUDGE = re.compile(r"oracle|tfidf|embeddings|features|recorded|noisy:(0\.\d+|1\.0)|model")


class SweepConfig(Section):
    """What to compare, on what.

    `recordings` are replayed; `runs`, run configurations, sample live. What a policy's own entry
    sets stays; for the rest, the lists below are combined with each other.
    """

    recordings: tuple[str, ...] = ()
    """Run folders, or Parquet or JSONL files, of recorded traces; relative to the sweep's file."""
    scores: tuple[str, ...] = ()
    """Run folders or Parquet files of recorded P(same), for the judge `recorded`."""
    runs: tuple[str, ...] = ()
    """Run configurations, files or names of shipped ones, to sample with; their own policies do not
    matter."""
    benchmarks: tuple[str, ...] = ()
    """What to ask in `runs`: names as `deepprune collect` knows them, or files."""
    problems: str | None = None
    """A part of the problems, first:last, counted from 0, last not included."""
    policies: tuple[PolicyConfig, ...] = Field(min_length=1)
    judges: tuple[str, ...] = ("features",)
    """For replays: `oracle`, `noisy:AUROC` (an oracle with noise, of that AUROC), `tfidf`,
    `embeddings`, `features` (learned from the other problems), `recorded`."""
    calibrate: bool = True
    """Learn what scores mean as P(same) from the other problems; an oracle needs none."""
    num_traces: tuple[int, ...] = (64,)
    checkpoints: tuple[str, ...] = ("tokens:500",)
    tau: tuple[float, ...] = ()
    seeds: int = Field(1, ge=1)
    """Replays: resamplings of the recorded traces. Live: runs."""
    answer_kind: AnswerKind = "auto"
    truncated_answers: TruncatedAnswers = "none"
    """For recordings without an answer column; see `docs/answers.md`."""
    chars_per_token: float = Field(3.6, gt=0)
    """Length of a token, for recordings without token counts."""
    speed: SpeedConfig = SpeedConfig()

    @field_validator("judges")
    @classmethod
    def _known(cls, judges: tuple[str, ...]) -> tuple[str, ...]:
        for judge in judges:
            if not _JUDGE.fullmatch(judge):
                raise ValueError(
                    f"{judge!r} is no judge: oracle, noisy:0.8, tfidf, embeddings, features or "
                    "recorded"
                )
        return judges

    @field_validator("checkpoints")
    @classmethod
    def _understood(cls, checkpoints: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(str(CheckpointSpec.parse(checkpoint)) for checkpoint in checkpoints)

    @field_validator("problems")
    @classmethod
    def _a_range(cls, problems: str | None) -> str | None:
        if problems is not None and not re.fullmatch(r"\d*:\d*", problems):
            raise ValueError(f"problems {problems!r} is not understood: write first:last")
        return problems

    @model_validator(mode="after")
    def _replay_or_live(self) -> SweepConfig:
        if bool(self.recordings) == bool(self.runs):
            raise ValueError("name either recordings, to replay, or runs, to sample live")
        if self.runs and not self.benchmarks:
            raise ValueError("runs need benchmarks to ask")
        if self.runs and any(isinstance(policy, OracleConfig) for policy in self.policies):
            raise ValueError("policy oracle replays recordings only")
        if "recorded" in self.judges and not self.scores:
            raise ValueError("the judge `recorded` needs scores")
        return self

    @property
    def chosen(self) -> slice:
        """The part of the problems to take."""
        first, _, last = (self.problems or ":").partition(":")
        return slice(int(first) if first else None, int(last) if last else None)

    def cells(self) -> list[SweepCell]:
        """Every policy with every setting and judge that applies to it, each once."""
        live = bool(self.runs)
        cells = (
            SweepCell(policy, judge)
            for entry in self.policies
            for policy in self._variants_of(entry)
            for judge in _judges_of(policy, self.judges, live)
        )
        return list(dict.fromkeys(cells))

    def _variants_of(self, entry: PolicyConfig) -> Iterator[PolicyConfig]:
        axes: dict[str, tuple[Any, ...]] = {"num_traces": self.num_traces}
        if isinstance(entry, JudgingConfig):
            axes["checkpoint"] = self.checkpoints
        if isinstance(entry, PaperRules) and self.tau:
            axes["tau"] = self.tau
        free = {name: values for name, values in axes.items() if name not in entry.model_fields_set}
        for values in itertools.product(*free.values()):
            update = dict(zip(free, values, strict=True))
            yield type(entry).model_validate(entry.model_dump(exclude_unset=True) | update)


@dataclass(frozen=True)
class SweepCell:
    """A policy with all its settings, and the judge it is given (None: it asks none)."""

    policy: PolicyConfig
    judge: str | None

    @property
    def key(self) -> str:
        """A short name that no other cell has."""
        return settings_key(self.policy, self.judge)


def _judges_of(policy: PolicyConfig, judges: tuple[str, ...], live: bool) -> tuple[str | None, ...]:
    if not isinstance(policy, JudgingConfig):
        return (None,)
    if isinstance(policy, OracleConfig):
        return ("oracle",)
    if live:
        return ("model",)
    if isinstance(policy, DeepPruneConfig):
        return tuple(judge for judge in judges if judge != "oracle")  # that is policy `oracle`
    return judges


def load_sweep(path: str | Path, overrides: dict[str, Any] | None = None) -> SweepConfig:
    """Read a sweep's YAML file, with `overrides` (dotted keys) laid over it.

    Raises:
        UserError: the file is missing, is not YAML, or does not validate.
    """
    return validated(SweepConfig, read_yaml(path, overrides), str(path))
