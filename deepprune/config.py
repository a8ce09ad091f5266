"""The configuration of a run: one YAML file, read once, refused when a key is unknown.

A file names the nodes, the generator, the judge and the policy. Every section is a frozen pydantic
model, so a configuration can be sent to any actor and never changes under it.
"""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    Field,
    JsonValue,
    PositiveInt,
    Tag,
    field_validator,
    model_validator,
)

from deepprune.answers import TruncatedAnswers
from deepprune.loading import read_yaml, validated
from deepprune.policy_config import (
    DeepConfConfig,
    DeepPruneConfig,
    JudgingConfig,
    OracleConfig,
    PolicyConfig,
)
from deepprune.section import Section, tag


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
    truncated_answers: TruncatedAnswers = "none"
    """What a trace counts for that `max_tokens` cut inside its thought: no answer, or its
    `last_box`."""


class EngineConfig(Section):
    """One vLLM engine: the model, and how a replica of it is cut into shards."""

    model: str
    """A local folder, a hub name, `miniature/reasoner`, `miniature/judge` or `smollm2`."""
    tensor_parallel: int = Field(1, ge=1)
    """Shards of each layer; they share one node."""
    pipeline_parallel: int = Field(1, ge=1)
    """Groups of layers; above 1, a replica may span nodes."""
    gpus_per_shard: float = Field(1.0, ge=0, le=1)
    """GPUs a shard reserves: below 1 to share a GPU with another engine, 0 on a CPU-only node."""
    cpus_per_shard: int = Field(1, ge=1)
    accelerator: str | None = None
    """Only on nodes with this accelerator, by Ray's name for it (`A100`, `H20`)."""
    node_labels: dict[str, str] = Field({})
    """Only on nodes whose Ray labels match, such as `{pool: judges}` or `{pool: "!judges"}`: with
    the same labels generators and judges are packed on the same nodes, with different ones apart.
    """
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    max_model_len: int | None = Field(None, ge=16)
    """Context in tokens; the model's own when absent."""
    max_num_seqs: int = Field(256, ge=1)
    """Traces that one replica decodes at the same time."""
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1)
    kv_cache_gib: float | None = Field(None, gt=0)
    """Memory of the key-value cache on CPU; GPUs use `gpu_memory_utilization`."""
    enforce_eager: bool = False
    engine_args: dict[str, JsonValue] = Field({})
    """Further arguments of vLLM's `AsyncEngineArgs`, passed as they are."""
    environment: dict[str, str] = Field({})
    """Environment variables of the engine's processes."""

    @property
    def tokenizer(self) -> str:
        """The model whose tokenizer the engine uses."""
        return str(self.engine_args.get("tokenizer", self.model))

    @model_validator(mode="after")
    def _a_shared_gpu_has_one_shard(self) -> EngineConfig:
        shards = self.tensor_parallel * self.pipeline_parallel
        if 0 < self.gpus_per_shard < 1 and shards > 1:
            raise ValueError("gpus_per_shard below 1 needs tensor_parallel = pipeline_parallel = 1")
        return self


class ReplicasConfig(Section):
    """How many replicas; between `min` and `max` Ray Serve follows the load."""

    min: int = Field(1, ge=1)
    max: int = Field(1, ge=1)
    upscale_delay_s: float = Field(4.0, ge=0)
    """Seconds of too much load before a replica is added."""
    downscale_delay_s: float = Field(120.0, ge=0)
    """Seconds of too little before one is taken away."""
    drain_s: float = Field(5.0, ge=0)
    """Seconds that a replica which leaves has to finish its work; what is left of it then is done
    by the others, from where it stood."""

    @model_validator(mode="after")
    def _ordered(self) -> ReplicasConfig:
        if self.min > self.max:
            raise ValueError(f"replicas: min {self.min} is above max {self.max}")
        return self


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
    progress_s: float = Field(1.0, gt=0)
    """Seconds between two progress events of a trace."""
    stream_interval: int = Field(1, ge=1)
    """Tokens per engine output. Above 1 it saves CPU where engines are very fast; the bill of a
    trace that is cancelled while it runs may then miss up to that many tokens, less one."""
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


GeneratorConfig = Annotated[
    Annotated[VllmGeneratorConfig, Tag("vllm")]
    | Annotated[EndpointGeneratorConfig, Tag("endpoint")],
    tag("kind", "vllm"),
]


class JudgePrompt(Section):
    """How a pair becomes a prompt, and which two tokens answer it.

    A trained judge carries this as `judge.json` in its model folder; a section `prompt` in the
    configuration replaces it. `template` holds `{first}` and `{second}`, and may hold `{problem}`.
    The first trace comes first because pairs share it, so its tokens are served from the cache.
    """

    template: str
    same_token: str
    different_token: str
    chat: bool = False
    """Wrap the filled template as one user message in the tokenizer's chat template."""
    add_special_tokens: bool = False
    checkpoint: str | None = None
    """The checkpoint the judge was trained on; a warning is logged when the policy uses another."""
    max_tokens: int | None = Field(None, ge=16)
    """Longest prompt the judge was trained on; longer ones lose the middles of their prefixes."""
    slope: float = Field(1.0, gt=0)
    shift: float = 0.0
    """Log-odds of P(same) are slope x those of the two answer tokens + shift, by held-out pairs."""
    tau: float | None = Field(None, gt=0, lt=1)
    """Threshold on P(same), chosen on held-out pairs, used when the policy names none."""
    base_rate: float | None = Field(None, gt=0, lt=1)
    """How many of the held-out pairs agree; `deepprune+` uses it when the policy names none."""
    auroc: float | None = Field(None, ge=0.5, le=1)
    """AUROC over held-out pairs of one problem, the mean over problems; likewise."""

    @field_validator("template")
    @classmethod
    def _both_sides(cls, template: str) -> str:
        for name in ("{first}", "{second}"):
            if template.count(name) != 1:
                raise ValueError(f"the judge's template must hold {name} exactly once")
        if template.index("{first}") > template.index("{second}"):
            raise ValueError("the judge's template must show {first} before {second}")
        return template


Reads = Literal["nothing", "prefixes", "pairs"]
"""What a judge's language model reads of n traces: nothing, n prefixes, or up to n²/2 pairs."""


class VllmJudgeConfig(Section):
    """The pairwise judge: Ray Serve replicas, each around one small vLLM engine."""

    kind: Literal["vllm"] = "vllm"
    engine: EngineConfig
    replicas: ReplicasConfig = ReplicasConfig()
    prompt: JudgePrompt | None = None
    """How to ask. Absent: what `judge.json` in the model's folder says, else a plain question."""
    pairs_per_call: int = Field(256, ge=1)
    """Pairs sent to one replica in one call; more are spread over the replicas."""

    reads: ClassVar[Reads] = "pairs"

    @property
    def name(self) -> str:
        """What tables call it."""
        return self.engine.model


class FeatureJudgeConfig(Section):
    """The feature judge: Ray Serve replicas that take a CPU each, and read no tokens."""

    kind: Literal["features"]
    folder: str
    """Where `deepprune cheap` wrote it."""
    replicas: ReplicasConfig = ReplicasConfig()
    cpus: float = Field(1.0, ge=0)
    """CPUs that a replica reserves."""
    pairs_per_call: int = Field(512, ge=1)

    reads: ClassVar[Reads] = "nothing"

    @property
    def name(self) -> str:
        """What tables call it, live as in a replay."""
        return "features"


class EncoderJudgeConfig(Section):
    """The encoder judge: Ray Serve replicas, each of which reads every prefix once."""

    kind: Literal["encoder"]
    folder: str
    """Where `deepprune train` wrote it, or `miniature/encoder`."""
    replicas: ReplicasConfig = ReplicasConfig()
    gpus: float = Field(0, ge=0, le=1)
    """Share of a GPU that a replica reserves; 0 runs it on CPUs."""
    cpus: float = Field(1.0, ge=0)
    """CPUs that a replica reserves; without a GPU, it has as many threads."""
    pairs_per_call: int = Field(512, ge=1)

    reads: ClassVar[Reads] = "prefixes"

    @property
    def name(self) -> str:
        """What tables call it."""
        return self.folder


JudgeConfig = Annotated[
    Annotated[VllmJudgeConfig, Tag("vllm")]
    | Annotated[FeatureJudgeConfig, Tag("features")]
    | Annotated[EncoderJudgeConfig, Tag("encoder")],
    tag("kind", "vllm"),
]


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
    """Seconds the engines may take to become healthy."""

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
    policy: PolicyConfig = DeepPruneConfig()
    limits: LimitsConfig = LimitsConfig()
    seed: int = 0

    @model_validator(mode="after")
    def _whole(self) -> RunConfig:
        policy = self.policy
        if isinstance(policy, OracleConfig):
            raise ValueError("policy 'oracle' knows the final answers: it replays recordings only")
        if isinstance(policy, JudgingConfig) and self.judge is None:
            raise ValueError(f"policy {policy.name!r} needs a judge section")
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
