"""`deepprune+`: a judged prefix is a vote at a fraction of the price.

Prefixes are launched a few at a time. Each is compared with one member, the anchor, of the largest
clusters, and joins the first it likely agrees with, or becomes the anchor of a new one. A cluster's
answer is known once one of its traces has finished. `deepprune/belief.py` turns votes and the
judge's calibrated P(same) into the probability that the leading cluster leads. Whenever nothing is
under way, one of these follows, whichever tells most per token:

- stop: the lead is safe enough for `risk`, and the leader's answer is known;
- let waiting traces finish, those of which the judge says least first: each becomes a vote;
- launch further prefixes; or whole traces, where the judge's word is worth too little.

As many are started at a time as could make the lead safe if all went the leader's way, so none is
started that one at a time would have saved. With a judge that is always right this takes a few
prefixes and one answer. A judge known to say nothing is not asked: see `voting_plus.py`.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from deepprune.belief import Standing, doubted_standing, expected_worth, fewest_votes
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
from deepprune.evidence import Cluster, Evidence
from deepprune.policies.token_costs import TokenCosts
from deepprune.policy_config import PlusConfig
from deepprune.promise import Terms
from deepprune.statistics import Floats

SURE = 2.5
"""Log-odds above which the judge is not asked again."""
SETTLED = 0.05
"""Share of a vote still open below which finishing a trace tells nothing, if the judge is right."""


class DeepPrunePlus:
    """Launches, judges and finishes the traces that tell most per token about the leader."""

    pauses = True

    def __init__(self, config: PlusConfig, terms: Terms) -> None:
        self._config = config
        self._terms = terms
        self._safe = 1.0 - terms.threshold
        self._costs = TokenCosts(CheckpointSpec.parse(config.checkpoint), config.judge_price)
        # A judge that was never measured is not asked: what it says might mean anything.
        known = config.auroc is not None and config.base_rate is not None
        asks = known and config.trust > 0
        self._worth = expected_worth(config.auroc or 0.5)
        self._evidence = Evidence(config.base_rate or 0.5, config.trust if asks else 0.0)
        self._unlaunched = range(config.num_traces)
        self._to_checkpoint: set[int] = set()
        self._to_end: set[int] = set()
        self._paused: list[int] = []  # in order of arrival
        self._asked: dict[int, Cluster] = {}  # compared now, and with which
        self._ended: set[int] = set()
        self._judge_lost = not asks

    # --- events ---------------------------------------------------------------------------------

    def start(self) -> list[Command]:
        """Launch the first prefixes."""
        return self._advance()

    def handle(self, event: Event) -> list[Command]:
        """Record an event, then continue if there is nothing to wait for."""
        commands: list[Command] = []
        match event:
            case PrefixReady(sample=sample, num_tokens=num_tokens):
                self._to_checkpoint.remove(sample)
                self._paused.append(sample)
                self._costs.add_prefix(num_tokens)
                commands = self._compare(sample)
            case Judged(sample=sample, p_same=p_same, computed_tokens=computed_tokens):
                self._costs.add_judging(computed_tokens)
                commands = self._judged(sample, p_same)
            case JudgeLost(sample=sample):
                self._judge_lost = True
                self._asked.pop(sample, None)
            case Finished(sample=sample, answer=answer, num_tokens=num_tokens):
                self._costs.add_trace(num_tokens)
                self._end(sample, answer)
            case Failed(sample=sample):
                self._end(sample, None)
            case _:
                return []
        return [*commands, *self._advance()]

    def decision(self) -> Decision:
        """The answer with the most weight; a vote weighs what its cluster weighs."""
        if not self._evidence.clusters:
            return Decision(None)
        now = self._standing()
        return replace(self._evidence.decision(now.mass), p_wrong=1 - now.p_leads)

    def _end(self, sample: int, answer: str | None) -> None:
        self._to_checkpoint.discard(sample)
        self._to_end.discard(sample)
        if sample in self._paused:
            self._paused.remove(sample)
        self._asked.pop(sample, None)
        self._ended.add(sample)
        self._evidence.finished(sample, answer)

    # --- comparing ------------------------------------------------------------------------------

    def _compare(self, sample: int) -> list[Command]:
        """Compare with the next cluster, largest first; open a new one if it agrees with none."""
        if self._judge_lost:
            return []
        cluster = self._evidence.next_for(sample, self._config.max_asked)
        if cluster is None:
            self._evidence.open(sample)
            return []
        return self._ask(sample, cluster)

    def _ask(self, sample: int, cluster: Cluster) -> list[Command]:
        """Compare a trace with members of a cluster that it has not been compared with.

        Leave out members that are being compared now: they may be compared with this trace.
        """
        limit = self._config.max_members
        members = self._evidence.fresh(sample, cluster, limit, self._asked.keys())
        if not members:
            return []
        self._asked[sample] = cluster
        return [Judge(sample, tuple(members))]

    def _judged(self, sample: int, p_same: Mapping[int, float]) -> list[Command]:
        evidence = self._evidence
        evidence.say(sample, p_same)
        cluster = self._asked.pop(sample, None)
        if cluster is None or sample in self._ended or evidence.placed(sample):
            return []
        if cluster not in evidence.clusters or evidence.p_same(sample, cluster) < 0.5:
            return self._compare(sample)
        cluster.members.append(sample)
        return []

    def _ask_again(self, now: Standing) -> list[Command]:
        """Compare waiting traces once more with the contenders, where the judge was not sure."""
        if self._judge_lost:
            return []
        contenders = [self._evidence.clusters[i] for i in (now.leader, now.rival) if i is not None]
        commands: list[Command] = []
        for cluster in contenders:
            for sample in self._paused:
                asked = sample in cluster.anchors or sample in self._asked
                if not asked and abs(self._evidence.log_ratio(sample, cluster)) < SURE:
                    commands += self._ask(sample, cluster)
        return commands

    # --- belief ---------------------------------------------------------------------------------

    def _standing(self, hoped: int = 0, likelihoods: Floats | None = None) -> Standing:
        """Weigh votes and the judge's word, as if the leader had `hoped` more votes."""
        clusters, waiting = self._evidence.clusters, set(self._paused)
        if likelihoods is None:
            likelihoods = self._evidence.likelihoods(self._uncertain())
        voting = self._evidence.answer_rate  # the share of traces that give an answer
        cast = np.array([len(cluster.voters) for cluster in clusters], dtype=np.float64)
        held = np.array([len(waiting.intersection(cluster.anchors)) for cluster in clusters])
        return doubted_standing(
            cast,
            held * voting,
            likelihoods,
            len(self._unlaunched) * voting,
            self._terms,
            num_waiting=len(waiting),
            trust=self._evidence.trust,
            hoped=hoped,
        )

    def _uncertain(self) -> list[int]:
        """Waiting traces whose cluster only the judge has told."""
        anchors = self._evidence.anchors
        return [sample for sample in self._paused if sample not in anchors]

    def _votes_needed(self, likelihoods: Floats) -> int:
        """The fewest further votes that would make the lead safe, at most a wave."""
        votes = range(1, self._config.max_wave)
        return 1 + bisect_left(
            votes, True, key=lambda n: self._standing(n, likelihoods).p_leads > self._safe
        )

    def _open(self, now: Standing) -> dict[int, float]:
        """For each waiting trace, the share of its vote between the contenders still open.

        The share is never 0, since the judge may be wrong. Anchors stand for their clusters, but
        two contenders may still turn out to share an answer.
        """
        evidence, doubt = self._evidence, 1 - self._evidence.trust
        judged = dict(zip(self._uncertain(), now.unsettled.tolist(), strict=True))
        left = {sample: doubt + (1 - doubt) * judged.get(sample, 0.0) for sample in self._paused}
        if now.rival is not None:
            leader, rival = evidence.clusters[now.leader], evidence.clusters[now.rival]
            for one, other in ((leader, rival), (rival, leader)):
                if one.answer is None and (waiting := self._waiting_in(one)):
                    left[waiting[0]] = max(doubt, evidence.p_same(waiting[0], other))
        return left

    def _waiting_in(self, cluster: Cluster) -> list[int]:
        return [s for s in (*cluster.anchors, *cluster.members) if s in self._paused]

    # --- what next ------------------------------------------------------------------------------

    def _advance(self) -> list[Command]:
        if self._to_checkpoint or (self._asked and not self._judge_lost):
            return []
        if not self._evidence.clusters:
            if self._to_end:
                return []
            missing = fewest_votes(0, 0, self._safe)
            if self._paused:  # their judge was lost, or what they were found alike with led nowhere
                return self._finish(self._paused[:missing])
            return self._launch(missing, self._worth)
        likelihoods = self._evidence.likelihoods(self._uncertain())
        now = self._standing(likelihoods=likelihoods)
        leader = self._evidence.clusters[now.leader]
        wanted = max(0, self._config.min_finish - len(leader.voters))
        safe = now.p_leads > self._safe
        if safe and not wanted:
            return [Stop("leader is safe")]
        if self._to_end:
            return []
        # The leader's traces finish first: its answer is wanted, and a judge that would settle the
        # matter, but is not known to be right, is put to the test.
        missing = wanted if safe else self._votes_needed(likelihoods)
        waiting = self._waiting_in(leader)
        if (safe or now.p_judged > self._safe) and waiting:
            return self._finish(waiting[:missing])
        return self._tell_apart(now, missing, wanted)

    def _tell_apart(self, now: Standing, missing: int, wanted: int) -> list[Command]:
        """Choose the action that tells most per token, while the lead is not safe."""
        if asked := self._ask_again(now):
            return asked
        left = self._open(now)
        anchors = self._evidence.anchors
        judged = [1 - share for sample, share in left.items() if sample not in anchors]
        worth = float(np.mean(judged)) if judged else self._worth * self._evidence.trust
        prefix, rest = self._costs.means()
        questions = sorted(self._paused, key=lambda sample: -left[sample])
        if not self._unlaunched:
            return self._last(questions, left, missing, wanted)
        finish_gain = left[questions[0]] / rest if questions else 0.0
        if finish_gain >= max(worth / prefix, 1 / (prefix + rest)):
            return self._finish(questions[:missing])
        return self._launch(missing, worth)

    def _last(
        self, questions: list[int], left: dict[int, float], missing: int, wanted: int
    ) -> list[Command]:
        """All are launched: finish open traces, unless a trusted judge has settled them."""
        doubt = 1 - self._evidence.trust
        if questions and (doubt > self._config.risk or left[questions[0]] - doubt > SETTLED):
            return self._finish(questions[:missing])
        if questions and wanted:
            leader = self._evidence.clusters[self._standing().leader]
            return self._finish((self._waiting_in(leader) or questions)[:wanted])
        return [Stop("all sampled")]

    def _finish(self, samples: list[int]) -> list[Command]:
        for sample in samples:
            self._paused.remove(sample)
        self._to_end.update(samples)
        return [Continue(sample) for sample in samples]

    def _launch(self, missing: int, worth: float) -> list[Command]:
        """Launch traces for `missing` votes, to their end if a prefix tells less per token."""
        prefix, rest = self._costs.means()
        to_end = self._judge_lost or worth / prefix <= 1 / (prefix + rest)
        size = missing if to_end else min(self._config.max_wave, math.ceil(missing / worth))
        wave, self._unlaunched = self._unlaunched[:size], self._unlaunched[size:]
        if not wave:
            return [Stop("all sampled")]
        (self._to_end if to_end else self._to_checkpoint).update(wave)
        return [Launch(sample, to_end=to_end) for sample in wave]
