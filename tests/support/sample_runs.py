"""Runs made by hand, for the report's tests; run as a module, it writes one to look at."""

import json
import random
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from deepprune.schemas import OUTCOMES, TRACES

FINISHED, AFTER, BEFORE = "finished", "cancelled_after_checkpoint", "cancelled_before_checkpoint"


def outcome(problem, policy, *, right=True, tokens=100, seed=0, **more):
    """A row of the outcomes table; `tokens` all finished unless `more` says otherwise."""
    answer = more.pop("answer", "42" if right else "41")
    settings = {"name": policy, "num_traces": 4, **more.pop("settings", {})}
    row = {
        "benchmark": "made",
        "problem_id": f"made/{problem}",
        "reference": "42",
        "model": "tiny",
        "driver": "replay",
        "policy": policy,
        "num_traces": 4,
        "settings": json.dumps(settings),
        "seed": seed,
        "answer": answer,
        "correct": right,
        "complete": True,
        "votes": [{"answer": answer, "count": 2, "samples": [0, 1], "weight": 2.0}],
        "clusters": [],
        "ends": [end(0, tokens), end(1, 0)],
        "rounds": 1,
        "wall_s": 2.0,
        "finished_tokens": tokens,
        "cancelled_after_checkpoint_tokens": 0,
        "judge_pairs": 0,
        "judge_computed_tokens": 0,
        "judge_cached_tokens": 0,
    }
    return row | more


def end(sample, tokens, fate=FINISHED, reason=FINISHED):
    return {"sample": sample, "fate": fate, "reason": reason, "num_tokens": tokens}


def write_run(folder, rows, *, traces=(), config=None, drop=()):
    """A run's folder with these outcomes, without the columns in `drop`."""
    (folder / "outcomes").mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config or {"seed": 0}))
    table = pa.Table.from_pylist(list(rows), OUTCOMES)
    pq.write_table(table.drop_columns(list(drop)), folder / "outcomes" / "all.parquet")
    if traces:
        (folder / "traces").mkdir()
        pq.write_table(pa.Table.from_pylist(list(traces), TRACES), folder / "traces" / "t.parquet")
    return folder


def trace(problem, sample, text, *, policy=None, answer="42", **more):
    """A row of the traces table."""
    row = {
        "benchmark": "made",
        "problem_id": f"made/{problem}",
        "problem": "What is 6 × 7?",
        "reference": "42",
        "model": "tiny",
        "policy": policy,
        "sample": sample,
        "text": text,
        "num_tokens": len(text.split()),
        "answer": answer,
        "fate": FINISHED,
    }
    return row | more


def realistic(folder, num_problems=12, num_seeds=3, num_traces=16, seed=0):
    """A sweep of several policies over problems of all difficulties, with texts to read."""
    rng = random.Random(seed)
    traces, rows = [], []
    for problem in range(num_problems):
        ease = rng.uniform(0.2, 1)
        answers, lengths = [], []
        for sample in range(num_traces):
            answers.append("42" if rng.random() < ease else str(rng.randrange(3)))
            lengths.append(round(rng.lognormvariate(5.5, 0.5)))
            text = " ".join(rng.choice(("so", "wait", "2+2", "thus")) for _ in range(lengths[-1]))
            traces.append(trace(problem, sample, text, answer=answers[-1]))
        for s in range(num_seeds):
            order = rng.sample(range(num_traces), num_traces)
            rows += _outcomes(problem, s, order, answers, lengths, rng)
    recording = folder.parent / "recording"
    (recording / "traces").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(traces, TRACES), recording / "traces" / "t.parquet")
    return write_run(folder, rows, config={"recordings": [str(recording)]})


def _outcomes(problem, seed, order, answers, lengths, rng):
    yield _outcome(problem, seed, "cons", order, len(order), answers, lengths)
    yield _outcome(problem, seed, "esc", order, rng.choice((5, 10, len(order))), answers, lengths)
    for judge, keep in (("tfidf", 6), ("noisy:0.7", 7), ("noisy:0.9", 4)):
        yield _outcome(problem, seed, "deepprune", order, keep, answers, lengths, judge)


def _outcome(problem, seed, policy, order, keep, answers, lengths, judge=None):
    votes = {}
    for sample in order[:keep]:
        votes.setdefault(answers[sample], []).append(sample)
    ranked = sorted(votes.items(), key=lambda item: -len(item[1]))
    ends = [end(sample, lengths[sample]) for sample in order[:keep]]
    if judge:
        ends += [end(s, min(60, lengths[s]), AFTER, "redundant") for s in order[keep:]]
    row = outcome(
        problem,
        policy,
        right=ranked[0][0] == "42",
        answer=ranked[0][0],
        tokens=sum(lengths[sample] for sample in order[:keep]),
        seed=seed,
        judge=judge,
        num_traces=len(order),
        ends=ends,
        votes=[
            {"answer": a, "count": len(s), "samples": s, "weight": float(len(s))} for a, s in ranked
        ],
    )
    if judge:
        spent = sum(min(60, lengths[sample]) for sample in order[keep:])
        row |= {
            "cancelled_after_checkpoint_tokens": spent,
            "checkpoint": "tokens:60",
            "clusters": [order[: len(order) // 2], order[len(order) // 2 :]],
            "judge_pairs": 4 * len(order),
            "judge_computed_tokens": 300 * len(order),
            "judge_cached_tokens": 120 * len(order),
            "rounds": 2,
        }
    return row


if __name__ == "__main__":
    realistic(Path(sys.argv[1]))
