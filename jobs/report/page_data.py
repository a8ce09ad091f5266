"""The data of a problem's page: each outcome's figures, and its traces as lanes in groups."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from deepprune.checkpoints import CheckpointSpec, truncate
from deepprune.ledger import Fate
from jobs.render.text import one_line, units, visible
from jobs.report.load import Detail, Row
from jobs.report.trace_texts import Text, Texts

FATES = tuple(fate.value for fate in Fate)
MAX_ANSWER_CHARS = 200
NO_CLUSTER, SAYS = "not in a cluster", "answer"


class PageWriter:
    """Collects the texts, answers and reasons of a page, each once.

    `said` are the answers of recorded samples, as votes counted them.
    """

    def __init__(self, said: Mapping[int, str]) -> None:
        self._said = said
        self.texts: list[str] = []
        self.answers: list[str] = []
        self.reasons: list[str] = []
        self._places: dict[str, int] = {}
        self._checkpoints: dict[tuple[str, CheckpointSpec], int | None] = {}

    def variant(self, label: str, row: Row, detail: Detail, texts: Texts) -> dict[str, Any]:
        """One outcome: its figures and its lanes in groups, the largest cluster first."""
        voted = self._said if row.driver == "replay" else votes_of([detail])
        spec = _spec(row)
        lanes: dict[int, list[Any]] = {}
        said: dict[int, int] = {}
        for end in detail.ends:
            sample, text = end["sample"], texts.get(end["sample"])
            answer = voted.get(sample, text.answer if text else None)
            said[sample] = -1 if answer is None else _place(self.answers, short(answer) or "")
            lanes[sample] = self._lane(end, said[sample], text, spec, row.driver == "replay")
        groups = [
            {"name": name, "lanes": [lanes[sample] for sample in samples]}
            for name, samples in _groups(detail, lanes, said, self.answers)
        ]
        launched = len(lanes)
        return {
            "label": label,
            "seed": row.seed,
            "answer": short(row.answer),
            "correct": row.correct,
            "tokens": row.tokens,
            "judge": sum(row.values.get(f"judge_{k}_tokens", 0) for k in ("computed", "cached")),
            "pairs": row.values.get("judge_pairs", 0),
            "rounds": row.values.get("rounds"),
            "votes": [
                [_place(self.answers, short(v["answer"]) or ""), v["count"], v["weight"]]
                for v in detail.votes[:12]
            ],
            "never": max(0, (row.num_traces or launched) - launched),
            "groups": groups,
        }

    def _lane(
        self,
        end: Mapping[str, Any],
        said: int,
        text: Text | None,
        spec: CheckpointSpec | None,
        replayed: bool,
    ) -> list[Any]:
        """[sample, tokens, tokens of the whole trace, fate, reason, answer, text, mark, cut].

        Fate, reason, answer and text are places in lists, -1 for none; mark and cut are where the
        checkpoint and the end fell in the text, -1 for nowhere.
        """
        tokens = end["num_tokens"] or 0
        fate = FATES.index(end["fate"]) if end["fate"] in FATES else len(FATES) - 1
        lane = [end["sample"], tokens, tokens, fate, _place(self.reasons, end["reason"] or "")]
        if text is None:
            return [*lane, said, -1, -1, -1]
        length, whole = len(text.text), tokens
        mark, cut = text.prefix_chars, length
        if replayed:
            whole = max(tokens, text.num_tokens)
            cut = length if fate == 0 else round(length * tokens / max(1, text.num_tokens))
            mark = None if spec is None else self._checkpoint(text, spec)
        lane[2] = whole
        if mark is not None and mark > cut:
            mark = None if mark > cut + 8 else cut
        place = -1
        if text.text:
            place = self._places.setdefault(text.text, len(self._places))
            if place == len(self.texts):
                self.texts.append(text.text)
        at = -1 if mark is None else units(text.text, mark)
        return [*lane, said, place, at, -1 if fate == 0 else units(text.text, cut)]

    def _checkpoint(self, text: Text, spec: CheckpointSpec) -> int | None:
        key = (text.text, spec)
        if key not in self._checkpoints:
            per_token = max(1e-9, len(text.text) / max(1, text.num_tokens))
            prefix = truncate(text.text, spec, chars_per_token=per_token)
            self._checkpoints[key] = None if prefix is None else len(prefix)
        return self._checkpoints[key]


def votes_of(details: Iterable[Detail]) -> dict[int, str]:
    """The answer that each sample voted for."""
    votes = (vote for detail in details for vote in detail.votes if vote["answer"] is not None)
    return {sample: vote["answer"] for vote in votes for sample in vote["samples"] or ()}


def _groups(
    detail: Detail, lanes: Mapping[int, Any], said: Mapping[int, int], answers: Sequence[str]
) -> Iterator[tuple[str, list[int]]]:
    """Clusters by size, then traces in none; without clusters, traces by answer."""
    left = set(lanes)
    clusters = [
        (f"cluster {number}", [s for s in cluster if s in lanes])
        for number, cluster in enumerate(detail.clusters, start=1)
    ]
    for name, cluster in sorted(clusters, key=lambda item: -len(item[1])):
        left -= set(cluster)
        if cluster:
            yield name, _by_length(cluster, lanes)
    if detail.clusters:
        if left:
            yield NO_CLUSTER, _by_length(left, lanes)
        return
    by_answer: dict[int, list[int]] = defaultdict(list)
    for sample in lanes:
        by_answer[said[sample]].append(sample)
    for answer, samples in sorted(by_answer.items(), key=lambda i: (i[0] < 0, -len(i[1]))):
        name = "no answer" if answer < 0 else f"{SAYS} {one_line(answers[answer], 40)}"
        yield name, _by_length(samples, lanes)


def _by_length(samples: Sequence[int] | set[int], lanes: Mapping[int, Any]) -> list[int]:
    return sorted(samples, key=lambda s: (lanes[s][3], -lanes[s][1], s))


def _spec(row: Row) -> CheckpointSpec | None:
    try:
        words = json.loads(row.settings or "{}").get("reasoning_words")
        return CheckpointSpec.parse(row.checkpoint, words) if row.checkpoint else None
    except (ValueError, AttributeError, TypeError):
        return None


def _place(values: list[str], value: str) -> int:
    value = visible(value)
    if value not in values:
        values.append(value)
    return values.index(value)


def short(answer: str | None) -> str | None:
    """An answer made visible, on one line."""
    return None if answer is None else one_line(visible(answer), MAX_ANSWER_CHARS)
