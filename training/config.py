"""Configurations of the judge's pipeline: how pairs are made, and how a judge is trained."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field, field_validator, model_validator

from deepprune.checkpoints import CheckpointSpec
from deepprune.config import JudgePrompt
from deepprune.loading import find, laid_over, read_yaml, validated
from deepprune.section import Model, Section
from training import TARGET_ERROR

FOLDER = Path(__file__).parent / "configs"

AnyConfig = TypeVar("AnyConfig", bound=Section)


class PairsConfig(Section):
    """How traces become pairs (Section 4.1.1)."""

    checkpoints: list[str] = Field(["tokens:500"], min_length=1)
    """Where prefixes end; several give one set of pairs each."""
    reasoning_words: list[str] | None = None
    """Replaces the built-in list for `reasoning_words:W`."""
    tokenizer: str | None = None
    """The reasoner's tokenizer (a folder or hub name), to place `tokens:K` at the exact token."""
    chars_per_token: float = Field(3.6, gt=0)
    """For `tokens:K` without a tokenizer, where a trace comes without its number of tokens."""
    answers: Literal["recorded", "auto", "choice", "math"] = "recorded"
    """Take the answers as recorded, or read them off the texts in one of these ways."""
    short_traces: Literal["whole", "exclude"] = "whole"
    """A trace that ends before its checkpoint is judged on its whole text, or left out."""
    pairs_per_problem: int | None = Field(None, ge=1)
    """At most this many pairs of each problem and model, drawn by the seed; absent: all."""
    balanced: bool = False
    """Draw at most half of `pairs_per_problem` from either class, which needs 2 or more."""
    validation: float = Field(0.1, ge=0, lt=1)
    """Share of the problems that choose the best checkpoint and the threshold."""
    test: float = Field(0.1, ge=0, le=1)
    """Share of the problems that nothing is learned from."""
    oversampling: int = Field(2, ge=1)
    """How often an epoch shows a pair of the training's rarer class (Section 4.1.2)."""
    seed: int = 0

    @field_validator("checkpoints")
    @classmethod
    def _readable(cls, checkpoints: list[str]) -> list[str]:
        for text in checkpoints:
            CheckpointSpec.parse(text)
        if len(set(checkpoints)) < len(checkpoints):
            raise ValueError("a checkpoint is named twice")
        return checkpoints

    @model_validator(mode="after")
    def _something_is_left(self) -> PairsConfig:
        if self.validation + self.test > 1:
            raise ValueError("validation and test together are more than all problems")
        if self.balanced and (self.pairs_per_problem or 0) < 2:
            raise ValueError("balanced needs pairs_per_problem, 2 or more")
        return self


class LossConfig(Section):
    """The loss on the answer token (Section 4.1.2)."""

    kind: Literal["focal", "cross_entropy"] = "focal"
    gamma: float = Field(2.0, ge=0)
    """Focal loss only: how strongly pairs that are already judged well are played down."""
    alpha: float = Field(0.25, gt=0, lt=1)
    """Focal loss only: weight of pairs that agree; pairs that differ weigh 1 - alpha."""
    reading: float = Field(0.0, ge=0)
    """Weight of predicting the second prefix as well, token by token, which teaches a small model
    to find the same step in both; it takes a vocabulary of logits for each of these tokens."""


class LoraConfig(Section):
    """Train low-rank additions to the weights instead of the weights."""

    rank: int = Field(16, ge=1)
    alpha: float = Field(32.0, gt=0)
    dropout: float = Field(0.0, ge=0, lt=1)
    targets: list[str] | Literal["all-linear"] = "all-linear"


class DeepSpeedConfig(Section):
    """How DeepSpeed divides a model among the workers."""

    zero_stage: Literal[0, 1, 2, 3] = 2
    offload: bool = False
    """Keep the optimiser's state in the nodes' main memory (and, at stage 3, the weights)."""


class WorkersConfig(Section):
    """The processes that train together, placed by Ray Train."""

    num: int = Field(1, ge=1)
    gpus: float = Field(0, ge=0)
    """GPUs of each worker; 0 trains on CPU."""
    cpus: float = Field(1, gt=0)
    accelerator: str | None = None
    """Only on nodes with this accelerator, by Ray's name for it (`A100`, `H20`)."""
    max_failures: int = Field(2, ge=0)
    """How often the training is taken up again from its last checkpoint after a worker died."""


class TrainConfig(Section):
    """One judge: model, loss, and how it is optimised."""

    kind: Literal["pairwise", "encoder"] = "pairwise"
    """`pairwise` reads the two prefixes of a pair together; `encoder` reads each prefix once."""
    model: Model
    """The base model: a local folder, a hub name, `smollm2` or `miniature/reasoner`."""
    prompt: JudgePrompt | None = None
    """Pairwise: how a pair is asked; absent: the base's own `judge.json`, else a plain question."""
    max_tokens: int = Field(2048, ge=16)
    """Longest prompt. Of a longer pair each prefix that takes more than its half loses its middle;
    of a longer prefix the encoder reads the end."""
    loss: LossConfig = LossConfig()
    lora: LoraConfig | None = None
    learning_rate: float = Field(1e-5, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    warmup: float = Field(0.05, ge=0, lt=1)
    """Share of the steps in which the learning rate rises; it then falls along a cosine."""
    max_grad_norm: float = Field(1.0, gt=0)
    epochs: float = Field(1.0, gt=0)
    pairs_per_step: int = Field(64, ge=1)
    """Pairs behind one update, over all workers."""
    pairs_per_batch: int = Field(8, ge=1)
    """Pairs that one worker holds at a time. For an encoder both are rounded to whole problems: a
    batch is all 120 pairs of 16 traces of one problem, or of as many as these pairs make."""
    precision: Literal["bf16", "fp32"] = "bf16"
    gradient_checkpointing: bool = False
    deepspeed: DeepSpeedConfig | None = None
    """Absent: one process without DeepSpeed."""
    workers: WorkersConfig = WorkersConfig()
    evaluate_every: int = Field(200, ge=1)
    """Steps between two evaluations on the validation problems."""
    checkpoint_every: int = Field(1, ge=1)
    """Evaluations between two checkpoints. A checkpoint holds the weights, the optimizer's state,
    and the best judge since the last one: after a fault, at most so many evaluations are redone."""
    evaluation_pairs: int = Field(2000, ge=1)
    """Pairs of the validation problems, at most, that such an evaluation scores."""
    target_error: float = Field(TARGET_ERROR, gt=0, lt=1)
    """Share of agreeing pairs that the calibrated threshold may take for different."""
    seed: int = 0

    @model_validator(mode="after")
    def _an_encoder_sees_no_pair(self) -> TrainConfig:
        if self.kind == "encoder" and self.prompt is not None:
            raise ValueError("prompt is a pairwise judge's; an encoder reads prefixes one by one")
        if self.kind == "encoder" and self.loss.reading:
            raise ValueError("loss.reading is a pairwise judge's: an encoder has no second prefix")
        return self

    @model_validator(mode="after")
    def _divides(self) -> TrainConfig:
        at_once = self.pairs_per_batch * self.workers.num
        if self.pairs_per_step % at_once:
            raise ValueError(
                f"pairs_per_step {self.pairs_per_step} is not a multiple of pairs_per_batch x "
                f"workers.num = {at_once}"
            )
        if self.deepspeed is None and self.workers.num > 1:
            raise ValueError("workers.num above 1 needs a deepspeed section")
        return self

    @property
    def resources(self) -> dict[str, float]:
        """What Ray reserves for each worker."""
        workers = self.workers
        found = {"CPU": workers.cpus}
        if workers.gpus:
            found["GPU"] = workers.gpus
        if workers.accelerator is not None:
            found[f"accelerator_type:{workers.accelerator}"] = 0.001
        return found

    @property
    def accumulation(self) -> int:
        """Batches of a worker behind one update."""
        return self.pairs_per_step // (self.pairs_per_batch * self.workers.num)

    def num_steps(self, per_epoch: float) -> int:
        """Updates in a whole training."""
        return max(1, math.ceil(self.epochs * per_epoch))


def shipped_configs() -> list[Path]:
    """Every shipped configuration of a training."""
    return sorted(FOLDER.glob("*.yaml"))


def load(
    kind: type[AnyConfig], name: str | Path | None, overrides: dict[str, Any] | None = None
) -> AnyConfig:
    """Read a YAML file, or a shipped configuration by name, with dotted `overrides` laid over it.

    Raises:
        UserError: there is no such file, or a key is unknown, missing or wrong.
    """
    if name is None:
        return validated(kind, laid_over({}, overrides), "the options")
    path = find(name, shipped_configs())
    return validated(kind, read_yaml(path, overrides), str(path))
