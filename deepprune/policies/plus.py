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
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from deepprune.belief import Array, Standing, expected_worth, fewest_votes, standing
from deepprune.checkpoints import CheckpointSpec
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
SHARED_ERROR = 0.5
"""Correlation of the judge's errors about one trace, assumed."""
DEFAULT_AUROC = 0.87
"""The paper's judge (Table 1)."""
SURE = 2.5
"""Log-odds from which on the judge is not asked again."""
_TOKENS_PER = {"tokens": 1, "reasoning_words": 20}
UNSEEN_LENGTH = 3.0
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
    def traces(self) -> list[int]:
        """All of it, those that are surest to belong first."""
        return list(dict.fromkeys([*self.voters, *self.anchors, *self.members]))

    @property
    def size(self) -> int:
        """Traces in it, finished or not."""
        return len(self.traces)


class DeepPrunePlus:
    """Launches, judges and finishes whatever tells most per token about which answer leads."""

    pauses = True

    def __init__(self, config: PlusConfig, same: Same) -> None:
        self._config = config
        self._same = same
        self._safe = 1.0 - config.risk
        spec = CheckpointSpec.parse(config.checkpoint)
        base_rate = config.base_rate or DEFAULT_BASE_RATE
        self._base_odds = base_rate / (1 - base_rate)
        self._base_rate = base_rate
        self._checkpoint_tokens = float(_TOKENS_PER[spec.kind] * spec.count)
        self._worth = expected_worth(config.auroc or DEFAULT_AUROC)
        self._unlaunched = range(config.num_traces)
        self._to_checkpoint: set[int] = set()
        self._to_end: set[int] = set()
        self._paused: list[int] = []  # in order of arrival
        self._asked: dict[int, Cluster] = {}  # compared now, and with which
        self._clusters: list[Cluster] = []
        self._ratios: dict[int, dict[int, float]] = {}  # log likelihood ratio of same, both ways
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
            tuple(tuple(sorted(cluster.traces)) for cluster in self._clusters),
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
            if not ratios.keys() & set(cluster.traces):
                return self._ask(sample, cluster)
        self._clusters.append(Cluster([sample]))
        return []

    def _ask(
        self, sample: int, cluster: Cluster, *, being_asked: Collection[int] = ()
    ) -> list[Command]:
        """Compare a trace with members of a cluster that it has not been compared with.

        Those `being_asked` are left out: it may be this trace that they are compared with.
        """
        known = self._ratios[sample]
        room = self._config.max_members - sum(trace in known for trace in cluster.traces)
        fresh = [
            trace
            for trace in cluster.traces
            if trace not in known and trace != sample and trace not in being_asked
        ]
        if not fresh:
            return []
        self._asked[sample] = cluster
        return [Judge(sample, tuple(fresh[:room]))]

    def _judged(self, sample: int, p_same: Mapping[int, float]) -> list[Command]:
        for member, p in p_same.items():
            clipped = min(max(p, 1e-6), 1 - 1e-6)
            ratio = math.log(clipped / (1 - clipped) / self._base_odds)
            ratio = min(max(ratio, -MAX_LOG_RATIO), MAX_LOG_RATIO)
            self._ratios.setdefault(sample, {})[member] = ratio
            self._ratios.setdefault(member, {})[sample] = ratio
        cluster = self._asked.pop(sample, None)
        if cluster is None or sample in self._answers or self._placed(sample):
            return []
        odds = self._base_odds * math.exp(self._log_ratio(sample, cluster) or 0.0)
        if cluster not in self._clusters or odds < 1:
            return self._compare(sample)
        cluster.members.append(sample)
        return []

    def _placed(self, sample: int) -> bool:
        return any(sample in cluster.traces for cluster in self._clusters)

    def _log_ratio(self, sample: int, cluster: Cluster) -> float | None:
        """Evidence that a trace belongs to a cluster, from all its comparisons with it.

        Comparisons of one trace err together, with a correlation of about SHARED_ERROR, so that n
        of them are worth less than n.
        """
        ratios = self._ratios.get(sample, {})
        said = [ratios[trace] for trace in cluster.traces if trace in ratios]
        return sum(said) / (1 + SHARED_ERROR * (len(said) - 1)) if said else None

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
        for other, ratio in self._ratios.get(sample, {}).items():
            known = self._answers.get(other)
            if known is not None:
                expected = self._base_rate * math.exp(ratio) + 1 - self._base_rate
                factors.append((ratio if self._same(known, answer) else 0.0) - math.log(expected))
        if factors:  # comparisons of one trace err together: they count as one
            self._evidence += sum(factors) / len(factors)

    # --- belief ---------------------------------------------------------------------------------

    @property
    def _trust(self) -> float:
        prior = self._config.trust
        if prior == 0:
            return 0.0
        return 1 / (1 + (1 - prior) / prior * math.exp(-self._evidence))

    def _standing(self, hoped: int = 0) -> Standing:
        """How things stand, or would with so many more votes for the leader.

        With probability `trust` what the judge says holds; else only finished traces count.
        """
        unseen = len(self._unlaunched)
        waiting = set(self._paused)
        cast = np.array([len(cluster.voters) for cluster in self._clusters], dtype=np.float64)
        held = [len(waiting.intersection(cluster.anchors)) for cluster in self._clusters]
        likelihoods = self._likelihoods(self._uncertain())
        believed = standing(cast + held, likelihoods, unseen)
        if hoped:
            cast[believed.leader] += hoped
            believed = standing(cast + held, likelihoods, max(0, unseen - hoped), believed.leader)
        nothing = np.ones((len(waiting), len(cast) + 1))
        doubted = standing(cast, nothing, max(0, unseen - hoped), believed.leader)
        trust = self._trust
        p_leads = trust * believed.p_leads + (1 - trust) * doubted.p_leads
        return replace(believed, p_leads=p_leads, p_judged=believed.p_leads)

    def _votes_needed(self) -> int:
        """The fewest further votes that would make the lead safe, at most a wave of them."""
        limit = self._config.max_wave
        votes = range(1, limit)
        return next((n for n in votes if self._standing(n).p_leads > self._safe), limit)

    def _uncertain(self) -> list[int]:
        """Waiting traces whose cluster is a matter of the judge's word."""
        anchors = {anchor for cluster in self._clusters for anchor in cluster.anchors}
        return [sample for sample in self._paused if sample not in anchors]

    def _likelihoods(self, samples: list[int]) -> Array:
        """(samples, clusters + 1): of what the judge said, if a trace belongs to each cluster."""
        rows = np.ones((len(samples), len(self._clusters) + 1))
        for row, sample in zip(rows, samples, strict=True):
            for index, cluster in enumerate(self._clusters):
                row[index] = math.exp(self._log_ratio(sample, cluster) or 0.0)
        return rows

    # --- what next ------------------------------------------------------------------------------

    def _advance(self) -> list[Command]:
        if self._to_checkpoint or (self._asked and not self._judge_lost):
            return []
        if not self._clusters:
            if self._to_end:
                return []
            missing = fewest_votes(0, 0, self._safe)
            if self._paused:  # their judge was lost, or what they were found alike with led nowhere
                return self._finish(self._paused[:missing])
            return self._launch(missing, self._worth, *self._costs())
        now = self._standing()
        leader = self._clusters[now.leader]
        safe = now.p_leads > self._safe
        if safe and len(leader.voters) >= self._config.min_finish:
            return [Stop("leader is safe")]
        if self._to_end:
            return []
        # The leader's traces finish first: its answer is wanted, and a judge that would settle the
        # matter, but is not known to be right, is put to the test.
        missing = self._config.min_finish - len(leader.voters) if safe else self._votes_needed()
        if (safe or now.p_judged > self._safe) and (waiting := self._waiting_in(leader)):
            return self._finish(waiting[:missing])
        return self._tell_apart(now, missing)

    def _waiting_in(self, cluster: Cluster) -> list[int]:
        return [s for s in (*cluster.anchors, *cluster.members) if s in self._paused]

    def _tell_apart(self, now: Standing, missing: int) -> list[Command]:
        """The lead is not safe: buy what tells most per token."""
        if asked := self._ask_again(now):
            return asked
        told = self._told(now)
        prefix, rest = self._costs()
        worth = sum(told.values()) / len(told) if told else self._worth * self._trust
        questions = sorted(self._paused, key=lambda sample: told.get(sample, 0.0))
        finish_gain = (1 - told.get(questions[0], 0.0)) / rest if questions else 0.0
        launch_gain = max(worth / prefix, 1 / (prefix + rest)) if self._unlaunched else 0.0
        if finish_gain >= launch_gain > 0 or (questions and not self._unlaunched):
            return self._finish(questions[:missing])
        return self._launch(missing, worth, prefix, rest)

    def _ask_again(self, now: Standing) -> list[Command]:
        """Compare waiting traces once more with the contenders, where the judge was not sure."""
        if self._judge_lost:
            return []
        commands: list[Command] = []
        for index in (now.leader, now.rival):
            cluster = self._clusters[index] if index is not None else None
            for sample in self._paused if cluster is not None else ():
                assert cluster is not None
                if sample in cluster.anchors or sample in self._asked:
                    continue
                known = self._ratios.setdefault(sample, {})
                num_known = sum(trace in known for trace in cluster.traces)
                others = len(cluster.traces) - (sample in cluster.traces)
                sure = abs(self._log_ratio(sample, cluster) or 0.0) >= SURE
                if not sure and num_known < min(others, self._config.max_members):
                    commands += self._ask(sample, cluster, being_asked=self._asked.keys())
        return commands

    def _told(self, now: Standing) -> dict[int, float]:
        """How much of a vote between the contenders each waiting trace is already worth."""
        likelihoods = self._likelihoods(self._paused)
        rival = -1 if now.rival is None else now.rival
        ours, theirs = likelihoods[:, now.leader], likelihoods[:, rival]
        information = self._trust * ((ours - theirs) / (ours + theirs)) ** 2
        contenders = [*self._clusters[now.leader].anchors]
        if now.rival is not None:
            contenders += self._clusters[now.rival].anchors
        return {
            sample: float(known)
            for sample, known in zip(self._paused, information, strict=True)
            if sample not in contenders  # those define what the others are compared with
        }

    def _costs(self) -> tuple[float, float]:
        """Tokens of a judged prefix, and from there to a trace's end."""
        seen = self._prefix_tokens
        prefix = float(np.mean(seen)) if seen else self._checkpoint_tokens
        whole = float(np.mean(self._trace_tokens)) if self._trace_tokens else UNSEEN_LENGTH * prefix
        judging = self._config.judge_price * self._judge_tokens / max(1, len(seen))
        return prefix + judging, max(whole - prefix, 0.1 * prefix)

    def _finish(self, samples: list[int]) -> list[Command]:
        for sample in samples:
            self._paused.remove(sample)
        self._to_end.update(samples)
        return [Continue(sample) for sample in samples]

    def _launch(self, missing: int, worth: float, prefix: float, rest: float) -> list[Command]:
        """Launch as many traces as `missing` votes take, to their end if a prefix tells less."""
        to_end = self._judge_lost or worth / prefix <= 1 / (prefix + rest)
        size = missing if to_end else min(self._config.max_wave, math.ceil(missing / worth))
        wave, self._unlaunched = self._unlaunched[:size], self._unlaunched[size:]
        if not wave:
            return [Stop("all sampled")]
        (self._to_end if to_end else self._to_checkpoint).update(wave)
        return [Launch(sample, to_end=to_end) for sample in wave]
