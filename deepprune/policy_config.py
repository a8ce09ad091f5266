"""The policies a run can name, and the settings of each."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, Tag, TypeAdapter, field_validator, model_validator

from deepprune.checkpoints import CheckpointSpec
from deepprune.section import Section, tag
from deepprune.stopping_config import AheadConfig, CertificateConfig, Latency, ShortConfig

JUDGE_PRICE = 0.02
"""Cost of a token that is read, in generated tokens, where nothing else is set."""


class ConsConfig(Section):
    """Self-consistency (Wang et al. 2022): every trace finishes, the majority answers."""

    name: Literal["cons"] = "cons"
    num_traces: int = Field(512, ge=1)
    stop_when_decided: bool = False
    """Cancel the rest once the vote cannot change. Off: the plain baseline pays for every trace."""


class EscConfig(AheadConfig):
    """Early-Stopping Self-Consistency (Li et al. 2024): stop after a window that agrees.

    With `latency` or `ahead`, windows are counted as published, and traces of later ones run ahead.
    """

    name: Literal["esc"]
    num_traces: int = Field(512, ge=1)
    window: int = Field(5, ge=1)
    """Traces sampled at a time; sampling stops when all of one window give the same answer."""


class AdaptiveConfig(AheadConfig):
    """Adaptive-Consistency (Aggarwal et al. 2023): stop when the leader is safe, by a Beta rule.

    With `latency` or `ahead`, the rule is applied to the traces that have ended, whenever one does.
    """

    name: Literal["adaptive"]
    num_traces: int = Field(512, ge=1)
    threshold: float = Field(0.95, gt=0.5, lt=1)
    """P(the leader is ahead of the runner-up) at which sampling stops."""
    wave: int | Literal["needed"] = 1
    """Traces sampled between two looks. 1 is the paper's; `needed` samples as many as it takes at
    least, which asks for the very same traces in far fewer rounds."""

    @field_validator("wave")
    @classmethod
    def _some(cls, wave: int | str) -> int | str:
        if isinstance(wave, int) and wave < 1:
            raise ValueError("wave must be 1 or more, or `needed`")
        return wave


class DeepConfConfig(Section):
    """Deep Think with Confidence (Fu et al. 2025), `low` keeping 10% of traces, `high` 90%.

    Online: `warmup` traces finish and set the threshold, the lowest group confidence that `keep` of
    them stay above; later traces end where their group confidence falls below it, and sampling
    stops once one answer holds `consensus` of the weight. Offline: all traces finish, and the
    `keep` most confident vote. Both vote by confidence.
    """

    name: Literal["deepconf-low", "deepconf-high"]
    num_traces: int = Field(512, ge=1)
    online: bool = True
    keep: float | None = Field(None, gt=0, le=1)
    """Share of traces kept. Absent: 0.1 for `deepconf-low`, 0.9 for `deepconf-high`."""
    warmup: int = Field(16, ge=1)
    consensus: float = Field(0.95, gt=0.5, le=1)
    """Share of the weight at which one answer ends sampling."""
    wave: int = Field(32, ge=1)
    """Traces under way at a time after the warm-up."""

    @property
    def keep_share(self) -> float:
        """The share of traces kept."""
        return self.keep or (0.1 if self.name == "deepconf-low" else 0.9)


class JudgingConfig(Section):
    """What all policies that judge prefixes share."""

    num_traces: int = Field(512, ge=1)
    checkpoint: str = "tokens:500"
    """Where a prefix ends: `tokens:K`, or `reasoning_words:W` (the paper's W is 25)."""
    reasoning_words: tuple[str, ...] | None = None
    """Replaces the built-in list of reasoning words."""

    @field_validator("checkpoint")
    @classmethod
    def _understood(cls, checkpoint: str) -> str:
        return str(CheckpointSpec.parse(checkpoint))

    @model_validator(mode="after")
    def _words_are_words(self) -> JudgingConfig:
        CheckpointSpec.parse(self.checkpoint, self.reasoning_words)
        return self

    @property
    def asks_judge(self) -> bool:
        """Whether it asks a judge that it is given."""
        return True

    @property
    def pauses(self) -> bool:
        """Whether a trace's request ends at its checkpoint, to be resumed from there."""
        return True


class PaperRules(JudgingConfig):
    """The rules of DeepPrune (Section 4.2); the defaults are those of Appendix C."""

    tau: float | None = Field(None, gt=0, lt=1)
    """P(same) above which a trace joins a cluster. Absent: the judge's own, else 0.5."""
    max_clusters: int = Field(16, ge=1)
    """K: clustering ends when this many clusters are open."""
    max_members: int = Field(20, ge=1)
    """p: sampled members of a cluster that a new trace is compared with."""
    max_finish: int = Field(20, ge=1)
    """k*: traces of the largest cluster that finish."""
    singletons_finish: int = Field(32, ge=1)
    """Traces that finish when every cluster is a singleton, that is, when the judge is no help."""
    at_checkpoint: Literal["pause", "run"] = "pause"
    """`pause` closes the request at its checkpoint and resumes it from the prefix cache when it is
    chosen; `run` lets it decode while it is judged, which answers sooner and wastes more."""
    wave: int | None = Field(None, ge=1)
    """Traces ahead of their verdict at any time: launching goes on until the clusters saturate.
    Absent: an eighth of num_traces, at least 16. num_traces launches all at once."""
    stop_when_decided: bool = True
    """Finish only as many traces as the vote still needs. Never changes the answer."""

    @property
    def pauses(self) -> bool:
        """Whether a trace's request ends at its checkpoint, to be resumed from there."""
        return self.at_checkpoint == "pause"

    @property
    def wave_size(self) -> int:
        """Traces that may be ahead of their verdict."""
        return self.wave or min(self.num_traces, max(16, self.num_traces // 8))


class DeepPruneConfig(PaperRules):
    """DeepPrune, with whatever judge there is."""

    name: Literal["deepprune"] = "deepprune"


class OracleConfig(PaperRules):
    """DeepPrune with a judge that knows the final answers: the limit; recordings only."""

    name: Literal["oracle"]


class PlusConfig(JudgingConfig, AheadConfig):
    """`deepprune+`: a judged prefix is a vote at a fraction of the price.

    Prefixes are launched a few at a time, and what the judge says of each is weighed as evidence
    of which answer leads. At each step the action that tells most per token is taken: launch
    prefixes, let a trace finish, or stop. See `deepprune/policies/plus.py`. Without a judge,
    `deepprune/policies/voting_plus.py` samples whole traces until the vote is safe.
    """

    name: Literal["deepprune+"]
    risk: float = Field(0.05, gt=0, lt=0.5)
    """Without a judge: share of problems on which another answer may win the vote of all traces, on
    average over problems. With a judge: accepted probability of that for each problem."""
    latency: Latency = "balanced"
    """Without a judge: `tokens` runs no trace that one at a time would have saved, `balanced` twice
    as many, and `fast` three times."""
    prior: tuple[float, ...] | None = None
    """How votes split, before any is in: a file of `deepprune prior`, or its weights. Absent: the
    shipped prior."""
    learns: bool = True
    """In a sweep, adapt the prior to the problems already answered, and let the next use what they
    left of the risk."""
    base_rate: float | None = Field(None, gt=0, lt=1)
    """P(same) of two random traces, where the judge was calibrated: a score equal to it is no
    evidence. Absent: the judge's own; a judge without one is not asked."""
    auroc: float | None = Field(None, ge=0.5, le=1)
    """The judge's AUROC over pairs of one problem, as measured: says whether a judged prefix pays.
    Absent: the judge's own; a judge whose AUROC is unknown is not asked."""
    least_auroc: float = Field(0.8, ge=0.5, le=1)
    """AUROC below which a judge is not asked: on the recordings of `docs/results.md`, short traces
    and long ones, a worse judge costs more tokens than it saves."""
    trust: float = Field(0.8, ge=0, lt=1)
    """Probability, before anything is seen, that the judge's P(same) means what it says. Traces
    that finish raise or lower it; at 0 the judge is not asked, and every trace finishes."""
    min_finish: int = Field(1, ge=1)
    """Traces of the leading answer that finish at least."""
    max_wave: int = Field(32, ge=1)
    """Prefixes launched at a time, at most."""
    max_asked: int = Field(8, ge=1)
    """Clusters a prefix is compared with, at most, the largest first."""
    max_members: int = Field(4, ge=1)
    """Members of a cluster it is compared with, at most."""
    judge_price: float = Field(JUDGE_PRICE, ge=0)
    """Cost of a token the judge reads, in generated tokens: prefill of a small model against
    decoding with a large one."""

    @field_validator("prior", mode="before")
    @classmethod
    def _weights(cls, prior: Any) -> Any:
        from deepprune import split_prior  # loads numpy, which a command line does not need

        if isinstance(prior, str):
            return split_prior.read(prior)
        if prior is not None:
            return split_prior.checked(prior, "prior")
        return None

    @property
    def asks_judge(self) -> bool:
        """Whether it asks a judge that it is given."""
        return self.trust > 0

    @property
    def votes_only(self) -> bool:
        """Whether no judge is asked: unwanted, never measured, or measured as not worth it."""
        auroc = 0.5 if self.auroc is None or self.base_rate is None else self.auroc
        return not (self.asks_judge and auroc > 0.5 and auroc >= self.least_auroc)


PolicyConfig = Annotated[
    Annotated[ConsConfig, Tag("cons")]
    | Annotated[EscConfig, Tag("esc")]
    | Annotated[AdaptiveConfig, Tag("adaptive")]
    | Annotated[ShortConfig, Tag("short-m@k")]
    | Annotated[CertificateConfig, Tag("mmc")]
    | Annotated[DeepConfConfig, Tag("deepconf-low")]
    | Annotated[DeepConfConfig, Tag("deepconf-high")]
    | Annotated[DeepPruneConfig, Tag("deepprune")]
    | Annotated[OracleConfig, Tag("oracle")]
    | Annotated[PlusConfig, Tag("deepprune+")],
    tag("name", "deepprune"),
]

POLICY_NAMES = (
    "cons",
    "esc",
    "adaptive",
    "short-m@k",
    "mmc",
    "deepconf-low",
    "deepconf-high",
    "deepprune",
    "oracle",
    "deepprune+",
)


def renamed(policy: PolicyConfig, name: str) -> dict[str, Any]:
    """The policy called `name`, with those of the settings made in `policy` that it has as well."""
    other: PolicyConfig = TypeAdapter(PolicyConfig).validate_python({"name": name})
    made = policy.model_dump(include=set(type(other).model_fields), exclude_unset=True)
    return made | {"name": name}
