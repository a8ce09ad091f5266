"""The configuration of a run: one YAML file, read once, refused when a key is unknown.

A file names the nodes, the generator, the judge and the policy. Every section is a frozen pydantic
model, so a configuration can be sent to any actor and never changes under it.
"""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    JsonValue,
    PositiveInt,
    Tag,
    field_validator,
    model_validator,
)

from deepprune.answers import TruncatedAnswers
from deepprune.engine_config import EngineConfig, ReplicasConfig
from deepprune.judge_config import (
    EncoderJudgeConfig,
    FeatureJudgeConfig,
    JudgeConfig,
    JudgePrompt,
    Reads,
    VllmJudgeConfig,
)
from deepprune.loading import read_yaml, validated
from deepprune.policy_config import (
    DeepConfConfig,
    OracleConfig,
    PaperRules,
    PlusConfig,
    PolicyConfig,
)
from deepprune.section import Section, tag

__all__ = [
    "EncoderJudgeConfig",
    "EndpointGeneratorConfig",
    "EngineConfig",
    "FeatureJudgeConfig",
    "GeneratorConfig",
    "JudgeConfig",
    "JudgePrompt",
    "LimitsConfig",
    "Reads",
    "ReplicasConfig",
    "RunConfig",
    "SamplingConfig",
    "VllmGeneratorConfig",
    "VllmJudgeConfig",
    "load_config",
    "parse_config",
]


class SamplingConfig(Section):
    """How a trace is sampled."""

    temperature: float = Field(0.6, ge=0)
    top_p: float = Field(0.95, gt=0, le=1)
    top_k: int = Field(0, ge=0)
    """Keep the k likeliest tokens; 0 keeps all."""
    max_tokens: int = Field(32768, ge=1)
    """Token budget of a whole trace, kept when it is paused, resumed or re-issued."""
    stop: tuple[str, ...] = ()
    """Texts that end a trace, and are no part of it."""
    json_schema: str | None = None
    """A JSON schema, as text, that the answer follows. The engine enforces it (vLLM's structured
    outputs), from the first token on unless `engine_args` has the model's `reasoning_parser`."""
    truncated_answers: TruncatedAnswers = "none"
    """What a trace counts for that `max_tokens` cut inside its thought: no answer, or its
    `last_box`."""
    answer_tokens: int | None = Field(None, ge=0)
    """Tokens of `max_tokens` kept for the answer: a trace that has spent the others inside its
    thought is asked for its answer. 0: it is cut there. Absent: 0 in runs, 1,024 in requests that
    `deepprune serve` answers."""

    @model_validator(mode="after")
    def _room_for_a_thought(self) -> SamplingConfig:
        if (self.answer_tokens or 0) >= self.max_tokens:
            raise ValueError(
                f"answer_tokens {self.answer_tokens} leaves no thought of max_tokens "
                f"{self.max_tokens}: lower it"
            )
        return self


def _progress_s(known: dict[str, Any]) -> float:
    """Reports cost the drivers CPU; a GPU's traces take minutes, and lose this much at most."""
    return 5.0 if known["engine"].gpus_per_shard else 1.0


class VllmGeneratorConfig(Section):
    """Generators that we start: Ray Serve replicas, each around one vLLM engine."""

    kind: Literal["vllm"] = "vllm"
    engine: EngineConfig
    replicas: ReplicasConfig = ReplicasConfig()
    sampling: SamplingConfig = SamplingConfig()
    chat_template_kwargs: dict[str, JsonValue] = Field({})
    """Arguments of the chat template, such as `enable_thinking: false`."""
    chat_template_date: datetime.date | None = None
    """Replaces today in templates that print the date: a run past midnight stays one run."""
    tool_call_parser: str | None = None
    """vLLM's name of the parser of the model's tool calls, such as `hermes`. Absent: requests with
    tools are refused."""
    progress_s: float = Field(default_factory=_progress_s, gt=0)
    """Seconds between two progress events of a trace. Absent: 5 on GPUs, 1 on CPUs."""
    expected_trace_tokens: int | None = Field(None, ge=1)
    """Mean length of a trace, from which `max_num_seqs` follows. Absent: half of `max_tokens`, at
    most 12,000."""
    stream_interval: int = Field(1, ge=1)
    """Tokens per engine output. Above 1 it saves CPU where engines are very fast."""
    confidence: bool = False
    """Record the confidence of each trace, window by window (DeepConf)."""
    confidence_top_k: int = Field(20, ge=1)
    confidence_window: int = Field(2048, ge=1)


class EndpointGeneratorConfig(Section):
    """A generator that already runs: any OpenAI-compatible server that streams."""

    kind: Literal["endpoint"]
    url: str
    """Base URL, up to and including `/v1`."""
    model: str
    api_key_env: str | None = None
    """Name of the environment variable that holds the key; never the key itself."""
    max_concurrency: int = Field(256, ge=1)
    connect_timeout_s: float = Field(5.0, gt=0)
    sampling: SamplingConfig = SamplingConfig()
    chat_template_kwargs: dict[str, JsonValue] = Field({})
    """Arguments of the chat template, such as `enable_thinking: false`."""
    progress_s: float = Field(1.0, gt=0)

    @field_validator("url")
    @classmethod
    def _http(cls, url: str) -> str:
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"generator.url must start with http:// or https://, not {url!r}")
        return url.rstrip("/")

    @field_validator("sampling")
    @classmethod
    def _cannot_close_a_thought(cls, sampling: SamplingConfig) -> SamplingConfig:
        if sampling.answer_tokens:
            raise ValueError("answer_tokens needs a generator of kind vllm")
        return sampling


GeneratorConfig = Annotated[
    Annotated[VllmGeneratorConfig, Tag("vllm")]
    | Annotated[EndpointGeneratorConfig, Tag("endpoint")],
    tag("kind", "vllm"),
]


def confidence_window(generator: GeneratorConfig) -> int | None:
    """Return the tokens of a group whose confidence is measured; None where it is not."""
    if isinstance(generator, VllmGeneratorConfig) and generator.confidence:
        return generator.confidence_window
    return None


class LimitsConfig(Section):
    """What bounds a run when things go wrong."""

    max_problems: int = Field(8, ge=1)
    """Problems in flight at the same time."""
    coordinators: int | None = Field(None, ge=1)
    """Processes that drive problems, each its share of them. Absent: one for every 32 problems."""
    retries: int = Field(3, ge=0)
    """Times in a row that a trace is re-issued after replicas died under it before its next token,
    that a call to the judge is, and that a coordinator may die without a result in between."""
    stall_s: float = Field(120.0, gt=0)
    """A trace from which nothing is heard for this long is treated as lost, and re-issued."""
    start_s: float = Field(900.0, gt=0)
    """Seconds an engine may take to be placed, and again to become healthy. The latter count from
    its placement, and anew while bytes of a model arrive on its node."""

    @model_validator(mode="after")
    def _a_problem_for_each_coordinator(self) -> LimitsConfig:
        if (self.coordinators or 1) > self.max_problems:
            raise ValueError(
                f"coordinators {self.coordinators} is above max_problems {self.max_problems}"
            )
        return self


class RunConfig(Section):
    """A whole run."""

    nodes: dict[str, PositiveInt] = Field(min_length=1)
    """How many nodes of each type in `cluster/node_types.py` there may be."""
    generator: GeneratorConfig
    judge: JudgeConfig | None = None
    """Absent: no judge is asked, and every GPU generates."""
    policy: PolicyConfig = PlusConfig(name="deepprune+")
    limits: LimitsConfig = LimitsConfig()
    seed: int = 0

    @model_validator(mode="after")
    def _whole(self) -> RunConfig:
        policy = self.policy
        if isinstance(policy, OracleConfig):
            raise ValueError("policy 'oracle' knows the final answers: it replays recordings only")
        if isinstance(policy, PaperRules) and self.judge is None:
            raise ValueError(
                f"policy {policy.name!r} needs a judge section: add one, or use a configuration "
                "that has one, such as a100x4-paper"
            )
        if isinstance(policy, DeepConfConfig) and not (
            isinstance(self.generator, VllmGeneratorConfig) and self.generator.confidence
        ):
            raise ValueError(
                f"policy {policy.name!r} needs generator.confidence: true, and a vllm generator"
            )
        return self


def parse_config(data: Any, source: str) -> RunConfig:
    """Validate `data`; `source` names it in errors.

    Raises:
        UserError: a key is unknown, missing or wrong; the message names each.
    """
    return validated(RunConfig, data, source)


def load_config(path: str | Path, overrides: dict[str, Any] | None = None) -> RunConfig:
    """Read a configuration file, with `overrides` (dotted keys) laid over it.

    Raises:
        UserError: the file is missing, is not YAML, or does not validate.
    """
    return parse_config(read_yaml(path, overrides), str(path))
