"""Predict the costs of a plan: replay each policy on each mix of nodes in virtual time."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cluster.gpu_specs import GPU_SPECS, GpuSpec
from cluster.model_shapes import ModelShape, model_shape
from cluster.node_types import NODE_TYPES, NodeType
from cluster.roofline import judge_speed, replica_speed
from cluster.settings import settled
from deepprune import judges
from deepprune.config import (
    EncoderJudgeConfig,
    EngineConfig,
    RunConfig,
    VllmGeneratorConfig,
    VllmJudgeConfig,
)
from deepprune.errors import UserError
from deepprune.fleet import Fleet, replay_together
from deepprune.grading import is_correct
from deepprune.judges import Calibration
from deepprune.ledger import Ledger
from deepprune.plan_config import PlanConfig
from deepprune.policy_config import JudgingConfig, PolicyConfig
from deepprune.recordings import Recording, load_recordings
from deepprune.replay import PairJudge
from deepprune.replay_dataset import ReplayDataset
from deepprune.speed import SpeedConfig
from deepprune.synthetic_traces import resampled_recordings, synthetic_recordings
from jobs.sweep.replay_judges import informed, noisy_scores

Mix = dict[str, int]


@dataclass(frozen=True, slots=True)
class Prediction:
    """The costs of a policy on a mix of nodes. `cost` is in GPU-hours if no prices are given."""

    policy: str
    judge: str | None
    mix: Mix
    hours: float
    gpu_hours: float
    cost: float
    busy: float
    """Share of the time in which the generators decode."""
    num_generators: int
    num_judges: int
    generated_tokens: int
    judge_tokens: int
    correct: int | None
    """Problems with a right vote; None without references."""


class Planner:
    """Predicts the costs of a plan, with its traces loaded.

    Raises:
        UserError: models, nodes, or the recording cannot be planned with.
    """

    def __init__(self, plan: PlanConfig, run: RunConfig, base: Path) -> None:
        if not isinstance(run.generator, VllmGeneratorConfig):
            raise UserError("a plan needs a run with a vllm generator: others set their own speed")
        self.plan = plan
        self._run = run
        self._generator = run.generator
        self.cells = plan.cells()
        most = max(policy.num_traces for policy, _ in self.cells)
        if plan.recording is None and any(judge and _needs_words(p) for p, judge in self.cells):
            raise UserError(
                "traces that are made up have no words: set checkpoint tokens:K, or a recording"
            )
        self._datasets = [
            ReplayDataset(r, plan.chars_per_token) for r in self._recordings(base, most)
        ]
        self._calibration = self._calibrated()
        lengths = [t for m in self._datasets for t in m.lengths]
        self.mean_tokens, self.longest_tokens = sum(lengths) / len(lengths), max(lengths)
        self._judges: dict[int, PairJudge] = {}

    def predict(self, policy: PolicyConfig, judge: str | None, mix: Mix) -> Prediction:
        """Replay the sweep under one policy on one mix; without a judge, all nodes generate."""
        nodes = _nodes(mix)
        judged = judge is not None
        generators, judge_pool = self._replicas(nodes, judged)
        fleet = Fleet(generators, judge_pool)
        in_flight = self.plan.max_problems or self._run.limits.max_problems
        if judge is not None:
            policy = informed(policy, judge, self._calibration)
        replays = (
            dataset.prepared(
                policy,
                judge=None if judge is None else self._judge(place, judge),
                fleet=fleet,
                prompt_tokens=self.plan.prompt_tokens,
            )
            for place, dataset in enumerate(self._datasets)
        )
        outcomes = list(replay_together(fleet, replays, in_flight))
        ledger = sum((outcome.ledger for outcome in outcomes), Ledger())
        hours = fleet.now_s / 3600
        gpus = sum(max(1, node.gpus) for node in nodes)
        gpu_hours = hours * gpus
        price = sum(self.plan.prices.get(name, 0.0) * count for name, count in mix.items())
        known = [c for o in outcomes if (c := is_correct(o)) is not None]
        return Prediction(
            policy.name,
            judge,
            mix,
            hours,
            gpu_hours,
            hours * price if self.plan.prices else gpu_hours,
            fleet.busy_s / (fleet.now_s * len(generators)),
            len(generators),
            len(judge_pool) if judged else 0,
            ledger.generated_tokens,
            ledger.judge_computed_tokens,
            sum(known) if known else None,
        )

    def _recordings(self, base: Path, num_traces: int) -> Sequence[Recording]:
        plan = self.plan
        if plan.recording is None:
            return synthetic_recordings(
                plan.lengths,
                plan.num_problems,
                num_traces,
                max_tokens=self._generator.sampling.max_tokens,
                length_scale=plan.length_scale,
                seed=plan.seed,
            )
        path = Path(plan.recording).expanduser()
        recordings = load_recordings(
            path if path.exists() or path.is_absolute() else base / path,
            kind=plan.answer_kind,
            chars_per_token=plan.chars_per_token,
        )
        return resampled_recordings(
            recordings,
            plan.num_problems,
            num_traces,
            length_scale=plan.length_scale,
            seed=plan.seed,
        )

    def _calibrated(self) -> Calibration:
        """The calibration of the planned judge, on the problems of the plan."""
        pairs = [judges.oracle(dataset.answers) for dataset in self._datasets]
        answers = [dataset.answers for dataset in self._datasets]
        return judges.calibrate(pairs, answers)[0]

    def _judge(self, place: int, name: str) -> PairJudge:
        dataset = self._datasets[place]
        if name == "oracle":
            return judges.oracle(dataset.answers)
        if place not in self._judges:
            scores = noisy_scores(name, dataset, self._calibration, self.plan.seed)
            if self._run.judge is not None:
                scores = replace(scores, reads=self._run.judge.reads)
            self._judges[place] = scores
        return self._judges[place]

    def _replicas(
        self, nodes: Sequence[NodeType], judged: bool
    ) -> tuple[list[SpeedConfig], list[SpeedConfig]]:
        """Speeds of the generators and judges that fit on the nodes.

        Judges come first, one after another on the nodes as they are listed.
        """
        if self.plan.speed is not None:
            return [self.plan.speed] * len(nodes), [self.plan.speed]
        total = sum(node.gpus for node in nodes)
        judge = self._run.judge
        asked = judged and isinstance(judge, VllmJudgeConfig | EncoderJudgeConfig)
        wanted = max(1, int(total / self.plan.gpus_per_judge)) if asked else 0
        shards, judge_shards = _gpus(self._generator.engine), 1
        judge_model: ModelShape | None = None
        if judged and judge is None:
            raise UserError(
                "the run has no judge to plan with: plan with one that has, such as "
                "run=a100x4-paper, or without `judge`"
            )
        if judged and isinstance(judge, VllmJudgeConfig):
            judge_shards = _gpus(judge.engine)
            judge_model = model_shape(judge.engine.model)
        if judged and isinstance(judge, EncoderJudgeConfig):
            if not judge.gpus:
                raise UserError("a plan knows the speed of GPUs only: set judge.gpus in its run")
            judge_model = model_shape(judge.folder)
        model = model_shape(self._generator.engine.model)
        generators: list[SpeedConfig] = []
        judge_pool: list[SpeedConfig] = []
        efficiency = self.plan.efficiency
        for node in nodes:
            gpu, free = _gpu(node), node.gpus
            while judge_model and len(judge_pool) < wanted and free >= judge_shards:
                judge_pool.append(judge_speed(gpu, judge_shards, judge_model, efficiency))
                free -= judge_shards
            speed = replica_speed(
                gpu,
                shards,
                model,
                efficiency,
                max_num_seqs=settled(self._generator, gpu.name).engine.slots,
                trace_tokens=self.plan.prompt_tokens + self.longest_tokens,
            )
            generators += [speed] * (free // shards)
        if not generators or len(judge_pool) < wanted:
            raise UserError(
                f"{shown_mix(Counter(node.name for node in nodes))} has no room for a generator "
                f"of {shards} GPUs{' beside its judges' if wanted else ''}: add nodes"
            )
        return generators, judge_pool


def shown_mix(mix: Mapping[str, int]) -> str:
    """A mix in words: `2×a100x4+1×h20x8`."""
    return "+".join(f"{count}×{name}" for name, count in mix.items())


def cheapest(predictions: Sequence[Prediction], within_h: float | None) -> list[Prediction]:
    """The cheapest mix of each policy and judge among those that meet the deadline, if any."""
    in_time = [p for p in predictions if within_h is None or p.hours <= within_h]
    best: dict[tuple[str, str | None], Prediction] = {}
    for prediction in sorted(in_time, key=lambda p: (p.cost, p.hours)):
        best.setdefault((prediction.policy, prediction.judge), prediction)
    return list(best.values())


def _nodes(mix: Mix) -> list[NodeType]:
    for name in mix:
        if name not in NODE_TYPES:
            known = ", ".join(sorted(NODE_TYPES))
            raise UserError(f"mixes: there is no node type {name!r}; known are {known}")
    return [NODE_TYPES[name] for name, count in mix.items() for _ in range(count)]


def _gpu(node: NodeType) -> GpuSpec:
    if node.accelerator not in GPU_SPECS:
        raise UserError(
            f"nothing is known of the speed of a node of type {node.name!r}: give `speed` as "
            "measured, or plan with nodes of " + ", ".join(GPU_SPECS)
        )
    return GPU_SPECS[node.accelerator]


def _needs_words(policy: PolicyConfig) -> bool:
    return isinstance(policy, JudgingConfig) and policy.checkpoint.startswith("reasoning_words")


def _gpus(engine: EngineConfig) -> int:
    """GPUs of one replica; a replica on a part of a GPU is planned with a whole one."""
    shards = engine.tensor_parallel * engine.pipeline_parallel
    return max(1, math.ceil(shards * engine.gpus_per_shard))
