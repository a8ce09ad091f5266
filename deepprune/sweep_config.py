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
    JudgingConfig,
    OracleConfig,
    PaperRules,
    PlusConfig,
    PolicyConfig,
)
from deepprune.recordings import Answers
from deepprune.section import Section
from deepprune.speed import SpeedConfig

_JUDGE = re.compile(
    r"none|blind|oracle|tfidf|embeddings|features|recorded|noisy:(0\.\d+|1\.0)"
    r"|(features|encoder):.+"
)
BLIND = "blind"
"""The judge that gives every pair the same score, the base rate: it says nothing."""


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
    """For replays: `none` (for policies that can do without), `blind` (scores without information),
    `oracle`, `noisy:AUROC` (an oracle with noise, of that AUROC), `tfidf`, `embeddings`, `features`
    (learned from the other problems), `features:FOLDER` or `encoder:FOLDER` (learned elsewhere;
    relative to the sweep's file), `recorded`."""
    controls: bool = True
    """Run each policy that is given a judge also with a blind judge, and without one if it can."""
    calibrate: bool = True
    """Learn what scores mean as P(same) from the other problems; an oracle needs none, nor does a
    judge that was learned elsewhere."""
    num_traces: tuple[int, ...] = (64,)
    checkpoints: tuple[str, ...] = ("tokens:500",)
    tau: tuple[float, ...] = ()
    seeds: int = Field(1, ge=1)
    """Replays: resamplings of the recorded traces. Live: runs."""
    answers: Answers = "recorded"
    """Take the answers as recorded, or read them off the `texts`."""
    answer_kind: AnswerKind = "auto"
    truncated_answers: TruncatedAnswers = "none"
    """For answers that are read off texts; see `docs/answers.md`."""
    chars_per_token: float = Field(3.6, gt=0)
    """Length of a token, for recordings without token counts."""
    speed: SpeedConfig = SpeedConfig()

    @field_validator("judges")
    @classmethod
    def _known(cls, judges: tuple[str, ...]) -> tuple[str, ...]:
        for judge in judges:
            if not _JUDGE.fullmatch(judge):
                raise ValueError(
                    f"{judge!r} is no judge: none, blind, oracle, noisy:0.8, tfidf, embeddings, "
                    "features, features:FOLDER, encoder:FOLDER or recorded"
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
        asking = next((p.name for p in self.policies if p.name == "deepprune"), None)
        if self.recordings and asking and not set(self.judges) - {"none", "oracle"}:
            raise ValueError(f"policy {asking} asks a judge: name one in judges, such as blind")
        return self

    @property
    def chosen(self) -> slice:
        """The part of the problems to take."""
        first, _, last = (self.problems or ":").partition(":")
        return slice(int(first) if first else None, int(last) if last else None)

    def cells(self) -> list[SweepCell]:
        """Every policy with every setting and judge that applies to it, each once."""
        cells = (
            cell
            for entry in self.policies
            for policy in self._variants_of(entry)
            for cell in (self._live_cells(policy) if self.runs else self._replay_cells(policy))
        )
        return list(dict.fromkeys(cells))

    def _replay_cells(self, policy: PolicyConfig) -> Iterator[SweepCell]:
        """A policy with each judge that it may ask, and its controls."""
        if not (isinstance(policy, JudgingConfig) and policy.asks_judge):
            yield SweepCell(policy, None)
        elif isinstance(policy, OracleConfig):
            yield SweepCell(policy, "oracle")
        else:
            judges = list(self.judges)
            if isinstance(policy, PaperRules):  # `oracle` is a policy of its own there
                judges = [judge for judge in judges if judge not in ("none", "oracle")]
            if self.controls and any(judge not in ("none", BLIND) for judge in judges):
                judges += [BLIND] if isinstance(policy, PaperRules) else ["none", BLIND]
            for judge in judges:
                yield SweepCell(policy, None if judge == "none" else judge)

    def _live_cells(self, policy: PolicyConfig) -> Iterator[SweepCell]:
        """A policy with the judge of its run; as a control, one that need not ask it does not."""
        asks = isinstance(policy, JudgingConfig) and policy.asks_judge
        yield SweepCell(policy, "model" if asks else None)
        if asks and self.controls and isinstance(policy, PlusConfig):
            yield SweepCell(policy.model_copy(update={"trust": 0.0}), None)

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


def load_sweep(path: str | Path, overrides: dict[str, Any] | None = None) -> SweepConfig:
    """Read a sweep's YAML file, with `overrides` (dotted keys) laid over it.

    Raises:
        UserError: the file is missing, is not YAML, or does not validate.
    """
    return validated(SweepConfig, read_yaml(path, overrides), str(path))
