"""The page of each problem, as data: clusters, their traces as lanes, and the traces' texts.

Each page is compressed on its own and unpacked by the browser when it is opened. What a page holds
is compact: keys and positions are explained in `Page` and `_lane`.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deepprune.checkpoints import CheckpointSpec, truncate
from jobs.render.text import limit_for, one_line, shortened, units, visible
from jobs.report.load import Detail, Row, Run
from jobs.report.summary import Scenario, Summary
from jobs.report.trace_texts import Text, Texts, TraceTexts

FATES = ("finished", "cancelled_after_checkpoint", "cancelled_before_checkpoint", "lost")
MAX_PROBLEM_CHARS, MAX_ID_CHARS = 20_000, 80
MAX_ANSWER_CHARS = 200
NO_CLUSTER, SAYS = "not in a cluster", "answer"
PACKING = 2.5
"""Characters of text that become one embedded byte, to begin with."""
MIN_PACKED_CHARS = 40


@dataclass(frozen=True)
class Page:
    """A problem's page: what its closed line shows, and the packed rest."""

    problem_id: str
    excerpt: str
    rows: Mapping[str, Row]
    """By variant's label: the outcome that is shown."""
    data: Mapping[str, Any]
    texts: Sequence[str]
    packed: str
    """Data and texts, compressed, the texts cut to what the report may hold."""

    def short_id(self, common: str) -> str:
        """The id on one line, without the part that all problems of a scenario share."""
        return one_line(self.problem_id.removeprefix(common) or self.problem_id, MAX_ID_CHARS)

    def chosen(self, labels: Sequence[str]) -> list[tuple[str, Row]]:
        """The outcomes of some variants, where there are any."""
        return [(label, self.rows[label]) for label in labels if label in self.rows]

    def kinds(self, labels: Sequence[str]) -> str:
        """The filters of the page that let the problem pass, besides `all`."""
        rows = [row for _, row in self.chosen(labels)]
        wrong = ["wrong"] if any(row.correct is False for row in rows) else []
        return " ".join(wrong + ["differs"] * (len({row.answer for row in rows}) > 1))


@dataclass(frozen=True)
class Pages:
    """The pages of a scenario; `note` says what was left out of their texts."""

    pages: tuple[Page, ...]
    note: str


@dataclass
class _Draft:
    """A page before its texts are cut."""

    problem_id: str
    rows: dict[str, Row]
    data: dict[str, Any]
    texts: list[str]

    def packed(self, limit: int) -> str:
        texts = [shortened(text, limit) for text in self.texts]
        data = json.dumps({**self.data, "texts": texts}, ensure_ascii=False, separators=(",", ":"))
        return base64.b64encode(gzip.compress(data.encode(), 6, mtime=0)).decode()


def build_pages(
    scenarios: Sequence[Scenario], runs: Sequence[Run], trace_texts: TraceTexts, max_bytes: int
) -> list[Pages]:
    """The pages of all scenarios, which together embed about `max_bytes` at most."""
    drafts = [
        [_draft(scenario, problem, runs, trace_texts) for problem in scenario.problems]
        for scenario in scenarios
    ]
    every = [draft for of in drafts for draft in of]
    lengths = [len(text) for draft in every for text in draft.texts]
    bare = sum(len(draft.packed(0)) for draft in every)
    limit, packing, packed = 0, PACKING, list[list[str]]()
    for _ in range(4):
        limit = limit_for(lengths, int(max(0, max_bytes - bare) * packing))
        packed = [[draft.packed(limit) for draft in of] for of in drafts]
        size = sum(len(text) for of in packed for text in of)
        if size <= max_bytes or limit == 0:
            break
        packing *= 0.9 * max(1, max_bytes - bare) / max(1, size - bare)
    return [
        Pages(tuple(map(_page, of, texts)), _note(of, limit, trace_texts))
        for of, texts in zip(drafts, packed, strict=True)
    ]


def _page(draft: _Draft, packed: str) -> Page:
    return Page(
        draft.problem_id,
        one_line(draft.data["problem"], 140),
        draft.rows,
        draft.data,
        draft.texts,
        packed,
    )


def _note(drafts: Sequence[_Draft], limit: int, trace_texts: TraceTexts) -> str:
    texts = [text for draft in drafts for text in draft.texts]
    if not texts:
        return " ".join(["No texts of traces are at hand.", *trace_texts.notes])
    cut = [len(text) - limit for text in texts if len(text) > limit]
    if not cut:
        return f"All {len(texts):,} texts are embedded whole."
    return (
        f"{len(cut):,} of {len(texts):,} texts are longer than {limit:,} characters; "
        f"{sum(cut):,} characters are left out of their middles to keep the file small "
        "(--max-text MB embeds more)."
    )


def _draft(
    scenario: Scenario, problem: str, runs: Sequence[Run], trace_texts: TraceTexts
) -> _Draft:
    shown = dict(_shown(scenario, problem))
    details = {label: runs[row.run].detail(row) for label, row in shown.items()}
    writer = _Writer(_voted(d for label, d in details.items() if shown[label].driver == "replay"))
    variants = [
        writer.variant(label, row, details[label], trace_texts.texts(row))
        for label, row in shown.items()
    ]
    text = visible(trace_texts.problems.get(problem, ""))
    reference = next((row.reference for row in shown.values() if row.reference is not None), None)
    data = {
        "id": problem,
        "problem": text[:MAX_PROBLEM_CHARS] + ("…" if len(text) > MAX_PROBLEM_CHARS else ""),
        "reference": _short(reference),
        "variants": variants,
        "answers": writer.answers,
        "reasons": writer.reasons,
    }
    return _Draft(problem, shown, data, writer.texts)


def _shown(scenario: Scenario, problem: str) -> Iterator[tuple[str, Row]]:
    """An outcome for each variant that has one: of the same seed where that is possible."""
    plain = scenario.baseline()
    counts: dict[int | None, int] = defaultdict(int)
    for summary in scenario.summaries:
        for found, seed in summary.rows:
            if found == problem:
                counts[seed] += 2 if summary is plain else 1
    order = sorted(counts, key=lambda s: (-counts[s], s is None, s or 0))
    for summary in scenario.summaries:
        row = _first(summary, problem, order)
        if row is not None:
            yield summary.label, row


def _first(summary: Summary, problem: str, seeds: Sequence[int | None]) -> Row | None:
    return next((summary.rows[problem, s] for s in seeds if (problem, s) in summary.rows), None)


class _Writer:
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
        voted = self._said if row.driver == "replay" else _voted([detail])
        spec = _spec(row)
        lanes: dict[int, list[Any]] = {}
        said: dict[int, int] = {}
        for end in detail.ends:
            sample, text = end["sample"], texts.get(end["sample"])
            answer = voted.get(sample, text.answer if text else None)
            said[sample] = -1 if answer is None else _place(self.answers, _short(answer) or "")
            lanes[sample] = self._lane(end, said[sample], text, spec, row.driver == "replay")
        groups = [
            {"name": name, "lanes": [lanes[sample] for sample in samples]}
            for name, samples in _groups(detail, lanes, said, self.answers)
        ]
        launched = len(lanes)
        return {
            "label": label,
            "seed": row.seed,
            "answer": _short(row.answer),
            "correct": row.correct,
            "tokens": row.tokens,
            "judge": sum(row.values.get(f"judge_{k}_tokens", 0) for k in ("computed", "cached")),
            "pairs": row.values.get("judge_pairs", 0),
            "rounds": row.values.get("rounds"),
            "votes": [
                [_place(self.answers, _short(v["answer"]) or ""), v["count"], v["weight"]]
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


def _voted(details: Iterable[Detail]) -> dict[int, str]:
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


def _short(answer: str | None) -> str | None:
    return None if answer is None else one_line(visible(answer), MAX_ANSWER_CHARS)
