"""`deepprune+`: a judged prefix is a vote at a fraction of the price.

Prefixes are launched a few at a time. Each is compared with one member, the anchor, of the largest
clusters, and joins the first it likely agrees with, or becomes the anchor of a new one. A cluster's
answer is known once one of its traces has finished. `deepprune/belief.py` turns votes and the
judge's calibrated P(same) into the probability that the leading cluster leads. Whenever nothing is
under way, one of these follows, whichever tells most per token:

- stop: the lead is safe (up to `risk`), and the leader's answer is known;
- let waiting traces finish, those of which the judge says least first: each becomes a vote;
- launch further prefixes; or whole traces, where the judge's word is worth too little.

As many are started at a time as could make the lead safe if all went the leader's way, so none is
started that one at a time would have saved. With a judge that says nothing this is
Adaptive-Consistency; with one that is always right, a few prefixes and one answer.

Whether P(same) means what it says is itself in doubt: every pair whose traces both finish shows
whether the judge was right, and moves `trust` up or down.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from deepprune.belief import Array, Standing, standing, votes_needed
from deepprune.events import (
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
from deepprune.policy_config import PlusConfig
from deepprune.voting import Same

DEFAULT_BASE_RATE = 0.7
MAX_LOG_RATIO = 4.0
"""One comparison is never worth more than odds of 55 to 1, whatever the judge says."""
UNSEEN_WORTH = 0.75
"""How much of a vote a judged prefix is expected to be worth before any was judged."""
UNSEEN_LENGTH = 4.0
"""Length of a trace in checkpoints, expected before any has finished."""


@dataclass(slots=True)
class Cluster:
    """Traces thought to share an answer: `anchors` define it, `members` were found alike.

    `voters` have finished with `answer`, which is None until one has.
    """

    anchors: list[int]
    members: list[int] = field(default_factory=list)
    voters: list[int] = field(default_factory=list)
    answer: str | None = None

    @property
    def size(self) -> int:
        """Traces in it, finished or not."""
        return len({*self.anchors, *self.members, *self.voters})


class DeepPrunePlus:
    """Launches, judges and finishes whatever tells most per token about which answer leads."""

    pauses = True

    def __init__(self, config: PlusConfig, same: Same) -> None:
        self._config = config
        self._same = same
        self._safe = 1.0 - config.risk
        base_rate = config.base_rate or DEFAULT_BASE_RATE
        self._base_odds = base_rate / (1 - base_rate)
        self._base_rate = base_rate
        self._unlaunched = range(config.num_traces)
        self._to_checkpoint: set[int] = set()
        self._to_end: set[int] = set()
        self._paused: list[int] = []  # in order of arrival
        self._asked: dict[int, int] = {}  # trace being compared -> the anchor it is compared with
        self._clusters: list[Cluster] = []
        self._ratios: dict[int, dict[int, float]] = {}  # log likelihood ratio of same, by anchor
        self._answers: dict[int, str | None] = {}
        self._evidence = 0.0  # log Bayes factor for the judge, against one that knows nothing
        self._judge_lost = config.trust == 0
        self._prefix_tokens: list[int] = []
        self._trace_tokens: list[int] = []
        self._judge_tokens = 0

    # --- events ---------------------------------------------------------------------------------

    def start(self) -> list[Command]:
        """Launch the first prefixes."""
        return self._advance()

    def handle(self, event: Event) -> list[Command]:
        """Take in what happened, then go on where there is nothing to wait for."""
        commands: list[Command] = []
        match event:
            case PrefixReady(sample=sample, num_tokens=num_tokens):
                self._to_checkpoint.remove(sample)
                self._paused.append(sample)
                self._prefix_tokens.append(num_tokens)
                commands = self._compare(sample)
            case Judged(sample=sample, p_same=p_same, computed_tokens=computed_tokens):
                self._judge_tokens += computed_tokens
                commands = self._judged(sample, p_same)
            case JudgeLost(sample=sample):
                self._judge_lost = True
                self._asked.pop(sample, None)
            case Finished(sample=sample, answer=answer, num_tokens=num_tokens):
                self._leave(sample)
                self._trace_tokens.append(num_tokens)
                self._finished(sample, answer)
            case Failed(sample=sample):
                self._leave(sample)
                self._finished(sample, None)
            case _:
                return []
        return [*commands, *self._advance()]

    def decision(self) -> Decision:
        """The heaviest answer, each vote weighing what its cluster weighs."""
        if not self._clusters:
            return Decision(None)
        mass = self._standing().mass
        known = sorted(
            (
                (cluster.answer, tuple(sorted(cluster.voters)), float(mass[index]))
                for index, cluster in enumerate(self._clusters)
                if cluster.answer is not None
            ),
            key=lambda group: (-group[2], group[1]),
        )
        return Decision(
            known[0][0] if known else None,
            tuple((answer, voters) for answer, voters, _ in known),
            tuple(
                tuple(sorted({*cluster.anchors, *cluster.members, *cluster.voters}))
                for cluster in self._clusters
            ),
            tuple(weight for _, _, weight in known),
        )

    def _leave(self, sample: int) -> None:
        self._to_checkpoint.discard(sample)
        self._to_end.discard(sample)
        if sample in self._paused:
            self._paused.remove(sample)

    # --- clusters -------------------------------------------------------------------------------

    def _compare(self, sample: int) -> list[Command]:
        """Ask about the next cluster, the largest first; found alike with none, open one."""
        if self._judge_lost:
            return []
        ratios = self._ratios.setdefault(sample, {})
        largest = sorted(self._clusters, key=lambda cluster: -cluster.size)
        for cluster in largest[: self._config.max_asked]:
            if cluster.anchors and not ratios.keys() & set(cluster.anchors):
                self._asked[sample] = cluster.anchors[0]
                return [Judge(sample, (cluster.anchors[0],))]
        self._clusters.append(Cluster([sample]))
        return []

    def _judged(self, sample: int, p_same: object) -> list[Command]:
        assert isinstance(p_same, dict)
        anchor = self._asked.pop(sample, None)
        if anchor is None or sample in self._answers:
            return []
        p = min(max(p_same[anchor], 1e-6), 1 - 1e-6)
        ratio = math.log(p / (1 - p) / self._base_odds)
        self._ratios[sample][anchor] = min(max(ratio, -MAX_LOG_RATIO), MAX_LOG_RATIO)
        cluster = self._cluster_of(anchor)
        if cluster is None or p < 0.5:
            return self._compare(sample)
        cluster.members.append(sample)
        return []

    def _finished(self, sample: int, answer: str | None) -> None:
        self._answers[sample] = answer
        self._asked.pop(sample, None)
        home = self._cluster_of(sample)
        for cluster in self._clusters:
            if sample in cluster.members:
                cluster.members.remove(sample)
        if answer is None:
            if home is not None:  # what its members were found alike with leads nowhere
                home.anchors.remove(sample)
                if not home.anchors and not home.voters:
                    self._clusters.remove(home)
            return
        self._test_judge(sample, answer)
        known = self._cluster_with(answer)
        if home is None:
            home = known or self._open(sample)
        elif known is not None:  # two clusters turn out to be one
            home.anchors += known.anchors
            home.members += known.members
            home.voters += known.voters
            self._clusters.remove(known)
        home.answer = home.answer if home.voters and home.answer is not None else answer
        home.voters.append(sample)

    def _open(self, sample: int) -> Cluster:
        self._clusters.append(Cluster([sample]))
        return self._clusters[-1]

    def _cluster_of(self, anchor: int) -> Cluster | None:
        return next((c for c in self._clusters if anchor in c.anchors), None)

    def _cluster_with(self, answer: str) -> Cluster | None:
        return next(
            (c for c in self._clusters if c.answer is not None and self._same(c.answer, answer)),
            None,
        )

    def _test_judge(self, sample: int, answer: str) -> None:
        """Compare what the judge said of pairs with how they ended, now that `sample` has."""
        factors = []
        for a, b, ratio in self._comparisons_of(sample):
            other = self._answers.get(b if a == sample else a)
            if other is not None:
                expected = self._base_rate * math.exp(ratio) + 1 - self._base_rate
                agreed = self._same(other, answer)
                factors.append((ratio if agreed else 0.0) - math.log(expected))
        if factors:  # comparisons of one trace err together: they count as one
            self._evidence += sum(factors) / len(factors)

    def _comparisons_of(self, sample: int) -> list[tuple[int, int, float]]:
        own = [(sample, anchor, r) for anchor, r in self._ratios.get(sample, {}).items()]
        others = [
            (other, sample, ratios[sample])
            for other, ratios in self._ratios.items()
            if sample in ratios
        ]
        return own + others

    # --- belief ---------------------------------------------------------------------------------

    @property
    def _trust(self) -> float:
        prior = self._config.trust
        if prior == 0:
            return 0.0
        return 1 / (1 + (1 - prior) / prior * math.exp(-self._evidence))

    def _standing(self) -> Standing:
        return standing(self._votes(), self._likelihoods(self._uncertain()))

    def _votes(self) -> Array:
        return np.array(
            [len({*c.voters, *(a for a in c.anchors if a in self._paused)}) for c in self._clusters]
        ).astype(np.float64)

    def _uncertain(self) -> list[int]:
        """Waiting traces whose cluster is a matter of the judge's word."""
        anchors = {anchor for cluster in self._clusters for anchor in cluster.anchors}
        return [sample for sample in self._paused if sample not in anchors]

    def _likelihoods(self, samples: list[int]) -> Array:
        """(samples, clusters + 1): of what the judge said, if a trace belongs to each cluster.

        With probability `trust` the judge's ratios hold; else what it says is as likely anywhere.
        """
        trust = self._trust
        rows = np.ones((len(samples), len(self._clusters) + 1))
        for row, sample in zip(rows, samples, strict=True):
            ratios = self._ratios.get(sample, {})
            anywhere = 1.0
            for index, cluster in enumerate(self._clusters):
                said = [ratios[anchor] for anchor in cluster.anchors if anchor in ratios]
                if said:
                    row[index] = math.exp(sum(said) / len(said))
                    anywhere *= self._base_rate * row[index] + 1 - self._base_rate
            row *= trust
            row += (1 - trust) * anywhere
        return rows

    # --- what next ------------------------------------------------------------------------------

    def _advance(self) -> list[Command]:
        if self._to_checkpoint or (self._asked and not self._judge_lost):
            return []
        if not self._clusters:
            if self._to_end:
                return []
            return self._launch(votes_needed(np.zeros(1), np.ones((0, 2)), self._safe, 64))
        now = self._standing()
        leader = self._clusters[now.leader]
        safe = now.p_leads > self._safe
        if safe and len(leader.voters) >= self._config.min_finish:
            return [Stop("leader is safe")]
        if self._to_end:
            return []
        if safe and (waiting := self._waiting_in(leader)):
            return self._finish(waiting[: self._config.min_finish - len(leader.voters)])
        return self._tell_apart(now)

    def _waiting_in(self, cluster: Cluster) -> list[int]:
        return [s for s in (*cluster.anchors, *cluster.members) if s in self._paused]

    def _tell_apart(self, now: Standing) -> list[Command]:
        """The lead is not safe: buy what tells most per token."""
        uncertain = self._uncertain()
        likelihoods = self._likelihoods(uncertain)
        missing = votes_needed(self._votes(), likelihoods, self._safe, self._config.max_wave)
        prefix, rest = self._costs()
        worth = float(now.information.mean()) if uncertain else UNSEEN_WORTH
        open_questions = self._open_questions(now, uncertain)
        finish_gain = open_questions[0][0] / rest if open_questions else 0.0
        launch_gain = max(worth / prefix, 1 / (prefix + rest)) if self._unlaunched else 0.0
        if max(finish_gain, launch_gain) == 0.0:
            return [Stop("all sampled")]
        if finish_gain >= launch_gain:
            return self._finish([sample for _, sample in open_questions[:missing]])
        return self._launch(missing, worth if worth / prefix > 1 / (prefix + rest) else 0.0)

    def _costs(self) -> tuple[float, float]:
        """Tokens of a judged prefix, and from there to a trace's end."""
        prefix = float(np.mean(self._prefix_tokens)) if self._prefix_tokens else 1.0
        whole = float(np.mean(self._trace_tokens)) if self._trace_tokens else UNSEEN_LENGTH * prefix
        judging = self._config.judge_price * self._judge_tokens / max(1, len(self._prefix_tokens))
        return prefix + judging, max(whole - prefix, 0.1 * prefix)

    def _open_questions(self, now: Standing, uncertain: list[int]) -> list[tuple[float, int]]:
        """Waiting traces with what finishing each would tell, most first."""
        leader = self._clusters[now.leader]
        told = dict(zip(uncertain, now.information, strict=True))
        anchors = [sample for sample in self._paused if sample not in told]
        for sample, row in zip(anchors, self._likelihoods(anchors), strict=True):
            ours, theirs = row[now.leader], row[-1]
            told[sample] = (
                0.0 if sample in leader.anchors else ((ours - theirs) / (ours + theirs)) ** 2
            )
        questions = [(1.0 - float(told[sample]), sample) for sample in self._paused]
        return sorted(questions, key=lambda question: -question[0])

    def _finish(self, samples: list[int]) -> list[Command]:
        for sample in samples:
            self._paused.remove(sample)
        self._to_end.update(samples)
        return [Continue(sample) for sample in samples]

    def _launch(self, missing: int, worth: float = UNSEEN_WORTH) -> list[Command]:
        """Launch as many traces as `missing` votes take, to their end if a prefix is worthless."""
        to_end = worth == 0.0 or self._judge_lost
        size = missing if to_end else min(self._config.max_wave, math.ceil(missing / worth))
        wave, self._unlaunched = self._unlaunched[:size], self._unlaunched[size:]
        if not wave:
            return [Stop("all sampled")]
        (self._to_end if to_end else self._to_checkpoint).update(wave)
        return [Launch(sample, to_end=to_end) for sample in wave]
