"""DeepPrune (Section 4.2): cluster prefixes online, cancel the redundant, finish a few, vote.

Two phases. While clustering, traces are launched a wave at a time, run to their checkpoint, and are
placed into clusters in order of arrival. Clustering ends when every trace is placed, when K
clusters are open, or when no further trace could change which traces finish. Then the first k*
members of the largest cluster finish and vote; all others are cancelled. When all clusters are
singletons, or the judge is lost, the judge is no help and a random sample finishes instead.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from itertools import islice

from deepprune.clustering import GreedyClustering
from deepprune.events import (
    Cancel,
    Command,
    Continue,
    Decision,
    Event,
    Failed,
    Finished,
    Judge,
    Judged,
    JudgeLost,
    Launch,
    PrefixReady,
    Stop,
)
from deepprune.policies.finishing import Finishing
from deepprune.policy_config import PaperRules

DEFAULT_TAU = 0.5


class DeepPrune:
    """The paper's rules, with launching in waves and stopping when the vote is decided."""

    def __init__(self, config: PaperRules, seed: int) -> None:
        self.pauses = config.at_checkpoint == "pause"
        self._config = config
        self._random = random.Random(seed)
        self._clustering = GreedyClustering(
            tau=config.tau or DEFAULT_TAU,
            max_clusters=config.max_clusters,
            max_members=config.max_members,
            seed=self._random.getrandbits(32),
        )
        self._unlaunched = range(config.num_traces)
        self._alive: set[int] = set()
        self._before_checkpoint: set[int] = set()
        self._queue: list[int] = []  # at their checkpoint, in order of arrival, not yet placed
        self._p_same: dict[int, dict[int, float]] = {}
        self._asked: dict[int, set[int]] = {}
        self._answers: dict[int, str | None] = {}
        self._judge_lost = False
        self._finishing: Finishing | None = None

    def start(self) -> list[Command]:
        """Launch the first wave."""
        return self._cluster()

    def handle(self, event: Event) -> list[Command]:
        """Move on by one event."""
        match event:
            case PrefixReady(sample=sample):
                return self._at_checkpoint(sample)
            case Finished(sample=sample, answer=answer):
                return self._finished(sample, answer)
            case Failed(sample=sample):
                return self._failed(sample)
            case Judged(sample=sample, p_same=p_same) if self._finishing is None:
                self._p_same[sample].update(p_same)
                return self._cluster()
            case JudgeLost() if self._finishing is None:
                self._judge_lost = True
                return self._cluster()
        return []

    def decision(self) -> Decision:
        """The majority of those that finished, and the clusters."""
        clusters = tuple(tuple(cluster) for cluster in self._clustering.clusters)
        if self._finishing is None:
            return Decision(None, clusters=clusters)
        return Decision(self._finishing.vote.answer, self._finishing.vote.groups, clusters)

    # --- events ---------------------------------------------------------------------------------

    def _at_checkpoint(self, sample: int) -> list[Command]:
        self._before_checkpoint.remove(sample)
        if self._finishing is not None:  # chosen by the fallback while still on its way here
            return [Continue(sample)] if self._finishing.runs(sample) else []
        self._queue.append(sample)
        self._p_same[sample] = {}
        self._asked[sample] = set()
        return self._cluster()

    def _finished(self, sample: int, answer: str | None) -> list[Command]:
        self._alive.remove(sample)
        if self._finishing is not None:
            self._finishing.ended(sample, answer)
            return self._finish()
        if sample in self._before_checkpoint and answer is not None:
            # Shorter than the checkpoint: all of it is the prefix, and finishing it costs nothing.
            self._answers[sample] = answer
            return self._at_checkpoint(sample)
        if answer is None:
            # Invalid traces are excluded (Appendix A). One already placed simply casts no vote.
            self._withdraw(sample)
        self._answers[sample] = answer
        return self._cluster()

    def _failed(self, sample: int) -> list[Command]:
        self._alive.remove(sample)
        if self._finishing is not None:
            self._finishing.ended(sample, None)
            return self._finish()
        self._withdraw(sample)
        self._answers[sample] = None
        return self._cluster()

    def _withdraw(self, sample: int) -> None:
        self._before_checkpoint.discard(sample)
        if sample in self._queue:
            self._queue.remove(sample)
            self._clustering.forget(sample)

    # --- clustering -----------------------------------------------------------------------------

    def _cluster(self) -> list[Command]:
        """Place what can be placed, ask for what is missing, launch what there is room for."""
        commands: list[Command] = []
        while self._queue and not self._clustering_over:
            sample = self._queue[0]
            members = self._clustering.members_for(sample)
            if any(member not in self._p_same[sample] for member in members):
                break
            cluster = self._clustering.clusters[
                self._clustering.place(sample, self._p_same.pop(sample))
            ]
            self._queue.pop(0)
            del self._asked[sample]
            if sample in self._alive and self._has_voters(cluster, self._config.max_finish + 1):
                commands.append(self._cancel(sample, "redundant"))
        if self._clustering_over:
            return commands + self._choose()
        # Asked on arrival about all members there are, and at the head of the queue about those who
        # came since: two calls to the judge for a trace, however long it waits.
        for sample in dict.fromkeys(self._queue[:1] + self._queue[-1:]):
            members = self._clustering.members_for(sample)
            unasked = tuple(m for m in members if m not in self._asked[sample])
            if unasked:
                self._asked[sample].update(unasked)
                commands.append(Judge(sample, unasked))
        while (
            self._unlaunched
            and len(self._before_checkpoint) + len(self._queue) < self._config.wave_size
        ):
            commands.append(self._launch(self._unlaunched[0]))
            self._unlaunched = self._unlaunched[1:]
        return commands

    @property
    def _clustering_over(self) -> bool:
        unplaced = len(self._queue) + len(self._before_checkpoint) + len(self._unlaunched)
        return (
            unplaced == 0
            or self._judge_lost
            or self._clustering.closed
            or (
                self._clustering.settled(unplaced, self._config.max_finish)
                and self._has_voters(self._clustering.largest, self._config.max_finish)
            )
        )

    def _launch(self, sample: int, *, to_end: bool = False) -> Launch:
        self._alive.add(sample)
        if not to_end:
            self._before_checkpoint.add(sample)
        return Launch(sample, to_end)

    def _cancel(self, sample: int, reason: str) -> Cancel:
        self._alive.remove(sample)
        return Cancel(sample, reason)

    # --- finishing ------------------------------------------------------------------------------

    def _choose(self) -> list[Command]:
        """End clustering: choose who finishes, cancel everybody else."""
        if self._judge_lost or self._clustering.all_singletons:
            chosen = self._sample_of_all()
        else:
            chosen = self._voters(self._clustering.largest)[: self._config.max_finish]
        unplaced = self._before_checkpoint.union(self._queue)
        commands: list[Command] = [
            self._cancel(sample, "saturated" if sample in unplaced else "minority")
            for sample in sorted(self._alive.difference(chosen))
        ]
        self._before_checkpoint.intersection_update(chosen)
        self._queue.clear()
        self._finishing = Finishing(
            chosen,
            self._answers,
            stop_when_decided=self._config.stop_when_decided,
        )
        return commands + self._finish()

    def _sample_of_all(self) -> list[int]:
        """A random sample of all traces, those whose prefix is paid for first.

        A trace that was cancelled as redundant is represented by another one of its cluster:
        otherwise the largest cluster would have less than its share of the vote.
        """
        representatives = {
            sample: cluster for cluster in self._clustering.clusters for sample in cluster
        }
        chosen: list[int] = []
        everybody = range(self._config.num_traces)
        for sample in self._random.sample(everybody, len(everybody)):
            voters = self._voters((sample, *representatives.get(sample, ())))
            one = next((voter for voter in voters if voter not in chosen), None)
            if one is not None and len(chosen) < self._config.singletons_finish:
                chosen.append(one)
        return sorted(chosen, key=self._unlaunched.__contains__)

    def _voters(self, samples: Iterable[int]) -> list[int]:
        """Those among `samples` that have an answer, or may still come to one."""
        return list(filter(self._may_vote, samples))

    def _has_voters(self, samples: Iterable[int], wanted: int) -> bool:
        """Whether so many of `samples` may vote; looks no further than it has to."""
        return sum(1 for _ in islice(filter(self._may_vote, samples), wanted)) == wanted

    def _may_vote(self, sample: int) -> bool:
        return (
            self._answers.get(sample) is not None
            or sample in self._alive
            or sample in self._unlaunched
        )

    def _finish(self) -> list[Command]:
        assert self._finishing is not None
        if self._finishing.done:
            return [Stop("decided")]
        started = self._finishing.next()
        return [
            Continue(sample) if sample in self._alive else self._launch(sample, to_end=True)
            for sample in started
            if sample not in self._before_checkpoint  # those go on when they get there
        ]
