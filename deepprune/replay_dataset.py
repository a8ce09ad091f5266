"""A recorded problem made ready for many replays: answers grouped, prefixes found, once."""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from deepprune.checkpoints import CheckpointSpec, truncate
from deepprune.confidence import lows
from deepprune.errors import UserError
from deepprune.fleet import Fleet
from deepprune.policies import make_policy
from deepprune.policy_config import JudgingConfig, PolicyConfig
from deepprune.promise import Terms
from deepprune.replay import PairJudge, Replay, ReplayTrace
from deepprune.seeds import stable_seed
from deepprune.session import Outcome
from deepprune.speed import SpeedConfig
from deepprune.voting import Vote

if TYPE_CHECKING:
    from deepprune.recordings import RecordedTrace, Recording


class ReplayDataset:
    """One recording. Prefixes of a text without token ids are cut by characters per token."""

    def __init__(self, recording: Recording, chars_per_token: float = 3.6) -> None:
        self.problem = recording.problem
        self.model = recording.model
        self._chars_per_token = chars_per_token
        self._traces = {trace.sample: trace for trace in recording.traces}
        self.answers = _grouped({trace.sample: trace.answer for trace in recording.traces})
        self._checkpoints: dict[CheckpointSpec, dict[int, int | None]] = {}

    @property
    def samples(self) -> tuple[int, ...]:
        """The recorded samples."""
        return tuple(self._traces)

    @property
    def prompt_tokens(self) -> int:
        """Roughly, by characters."""
        return round(len(self.problem.text) / self._chars_per_token)

    @property
    def lengths(self) -> tuple[int, ...]:
        """Tokens of each trace."""
        return tuple(trace.num_tokens for trace in self._traces.values())

    def without_texts(self, spec: CheckpointSpec | None = None) -> ReplayDataset:
        """The same problem, light enough to be copied, with the checkpoints of `spec`."""
        lean = copy.copy(self)
        lean._traces = {sample: replace(t, text="") for sample, t in self._traces.items()}
        lean._checkpoints = {} if spec is None else {spec: self._checkpoints_at(spec)}
        return lean

    def prefixes(self, spec: CheckpointSpec) -> dict[int, str]:
        """What a judge reads of each trace: up to the checkpoint, or all that is shorter."""
        return {
            sample: self._prefix(trace, spec) or trace.text
            for sample, trace in self._traces.items()
        }

    def draw(self, num_traces: int, seed: int | None) -> list[int]:
        """Recorded samples in the order a replay meets them; as recorded without a seed.

        Raises:
            UserError: fewer traces are recorded than are asked for.
        """
        if num_traces > len(self._traces):
            raise UserError(
                f"{self.problem.problem_id}: {num_traces} traces are asked for and "
                f"{len(self._traces)} are recorded: lower num_traces or record more"
            )
        if seed is None:
            return list(self.samples[:num_traces])
        return random.Random(f"{seed}/{self.problem.problem_id}").sample(self.samples, num_traces)

    def replay(
        self,
        policy: PolicyConfig,
        *,
        judge: PairJudge | None = None,
        speed: SpeedConfig | None = None,
        seed: int | None = None,
        terms: Terms | None = None,
    ) -> Outcome:
        """Replay the problem under a policy, of a sweep on its `terms` or by itself.

        Raises:
            UserError: fewer traces are recorded than the policy may launch.
        """
        return self.prepared(policy, judge=judge, speed=speed, seed=seed, terms=terms).run()

    def prepared(
        self,
        policy: PolicyConfig,
        *,
        judge: PairJudge | None = None,
        speed: SpeedConfig | None = None,
        fleet: Fleet | None = None,
        seed: int | None = None,
        prompt_tokens: int | None = None,
        terms: Terms | None = None,
    ) -> Replay:
        """A replay that has not begun, of an engine of its own or on a `fleet`.

        Raises:
            UserError: fewer traces are recorded than the policy may launch.
        """
        spec = None
        if isinstance(policy, JudgingConfig):
            spec = CheckpointSpec.parse(policy.checkpoint, policy.reasoning_words)
        return Replay(
            self.problem,
            self.replay_traces(self.draw(policy.num_traces, seed), spec),
            make_policy(policy, stable_seed(seed or 0, self.problem.problem_id), terms),
            policy.name,
            judge=judge,
            speed=speed,
            fleet=fleet,
            prompt_tokens=self.prompt_tokens if prompt_tokens is None else prompt_tokens,
        )

    def replay_traces(
        self, samples: Sequence[int], spec: CheckpointSpec | None
    ) -> list[ReplayTrace]:
        """The traces of `samples`, in this order, with their checkpoints and confidence."""
        checkpoints = {} if spec is None else self._checkpoints_at(spec)
        return [
            ReplayTrace(
                sample,
                trace.num_tokens,
                checkpoints.get(sample),
                trace.answer,
                lows(trace.confidence, trace.confidence_window, trace.num_tokens),
            )
            for sample in samples
            for trace in [self._traces[sample]]
        ]

    def _checkpoints_at(self, spec: CheckpointSpec) -> dict[int, int | None]:
        if spec not in self._checkpoints:
            self._checkpoints[spec] = {
                sample: self._checkpoint(trace, spec) for sample, trace in self._traces.items()
            }
        return self._checkpoints[spec]

    def _checkpoint(self, trace: RecordedTrace, spec: CheckpointSpec) -> int | None:
        """Tokens at a trace's checkpoint; None where it ends before."""
        if spec.kind == "tokens":
            return spec.count if spec.count < trace.num_tokens else None
        prefix = self._prefix(trace, spec)
        if prefix is None or not trace.text:
            return None
        tokens = max(1, round(trace.num_tokens * len(prefix) / len(trace.text)))
        return tokens if tokens < trace.num_tokens else None

    def _prefix(self, trace: RecordedTrace, spec: CheckpointSpec) -> str | None:
        chars_per_token = self._chars_per_token
        if spec.kind == "tokens" and trace.num_tokens and trace.text:
            chars_per_token = len(trace.text) / trace.num_tokens
        return truncate(trace.text, spec, chars_per_token=chars_per_token)


def _grouped(answers: dict[int, str | None]) -> dict[int, str | None]:
    """Each answer replaced by the first of its group, so that equal is identical."""
    first = {
        sample: answer for answer, samples in Vote(answers.items()).groups for sample in samples
    }
    return {sample: first.get(sample) for sample in answers}
