"""The section `judge` of a configuration, and the prompt that a pairwise judge is asked."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, Tag, field_validator

from deepprune.engine_config import EngineConfig, ReplicasConfig
from deepprune.section import Model, Section, tag


class JudgePrompt(Section):
    """How a pair becomes a prompt, and which two tokens answer it.

    A trained judge carries this as `judge.json` in its model folder; a section `prompt` in the
    configuration replaces it. `template` holds `{first}` and `{second}`, and may hold `{problem}`.
    The first trace comes first because the pairs of a call share it: it is computed once.
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


JUDGE_STEP_TOKENS = 8192
"""A judge only reads: a step of this many tokens keeps a GPU's arithmetic busy."""


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

    @field_validator("engine")
    @classmethod
    def _large_steps_on_a_gpu(cls, engine: EngineConfig) -> EngineConfig:
        if engine.max_num_batched_tokens is not None or not engine.gpus_per_shard:
            return engine
        return engine.model_copy(update={"max_num_batched_tokens": JUDGE_STEP_TOKENS})

    @property
    def name(self) -> str:
        """What tables call it."""
        return self.engine.model


class FeatureJudgeConfig(Section):
    """The feature judge: Ray Serve replicas that take a CPU each, and read no tokens."""

    kind: Literal["features"]
    folder: Model
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
    folder: Model
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
