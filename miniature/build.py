"""Rebuild the miniature from nothing: `python -m miniature.build [--out DIR] [--minutes M]`.

Tokenizer, reasoner, traces sampled from it, judges, figures, model cards. New models are built in a
folder beside the old ones, which they replace only once they are complete.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
import typer

from deepprune.traces import Problem
from miniature import CHECKPOINT_TOKENS, train_reasoner
from miniature.measure import (
    all_pairs,
    drawn_pairs,
    measure_judge,
    measure_pruning,
    measure_reasoner,
    scores_of,
)
from miniature.model import load_model, num_parameters, save_model
from miniature.problems import generate_problems
from miniature.sample import MAX_TOKENS, TEMPERATURE, Sampled, sample_traces
from miniature.tokenizer import load_tokenizer, train_tokenizer
from miniature.train_judges import train_judges
from training.offline.saved_judge import saved_tau

MODELS = Path(__file__).parent / "models"
CARDS = Path(__file__).parent / "cards"
NOMINAL_MINUTES = 35.0
NUM_DEMO, NUM_DEMO_TRACES = 60, 64
NUM_JUDGE, NUM_JUDGE_TRACES = 600, 16
PAIRS_PER_PROBLEM = 120
NUM_PRUNED = 30

logger = logging.getLogger(__name__)


def build(out: Path, minutes: float = NOMINAL_MINUTES, seed: int = 0, num_threads: int = 2) -> None:
    """Build all models into `out`; fewer minutes than nominal mean less training and data."""
    started = time.monotonic()
    scale = minutes / NOMINAL_MINUTES
    torch.set_num_threads(num_threads)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".building-", dir=out) as folder:
        new = Path(folder)
        build_reasoner(new / "reasoner", round(train_reasoner.NUM_STEPS * scale), seed)
        metrics = build_judge(new, scale, seed)
        metrics["build"] = {"minutes": (time.monotonic() - started) / 60, "cores": num_threads}
        finish(new, metrics)
        for part in ("reasoner", "judge", "encoder", "metrics.json"):
            swap(new / part, out / part)
    logger.info("built %s in %.1f minutes", out, metrics["build"]["minutes"])


def build_reasoner(folder: Path, num_steps: int, seed: int) -> None:
    """Tokenizer and reasoner from generated text."""
    tokenizer = train_tokenizer(seed)
    save_model(train_reasoner.train_reasoner(tokenizer, num_steps, seed), tokenizer, folder)


def build_judge(models: Path, scale: float, seed: int) -> dict[str, dict[str, float]]:
    """Sample the reasoner in `models`, train the judges beside it, and measure all."""
    reasoner_folder = models / "reasoner"
    share = min(1.0, scale)
    demo = generate_problems(seed, max(4, round(NUM_DEMO * share)))
    practice = generate_problems(seed, max(20, round(NUM_JUDGE * share)), split="judge")
    demo_traces = _sample(reasoner_folder, demo, NUM_DEMO_TRACES, seed)
    practice_traces = _sample(reasoner_folder, practice, NUM_JUDGE_TRACES, seed)
    metrics = {"reasoner": measure_reasoner(demo_traces)}
    logger.info("reasoner: %s", metrics["reasoner"])

    train_judges(practice_traces, reasoner_folder, models, PAIRS_PER_PROBLEM, share, seed)
    tokenizer = load_tokenizer(reasoner_folder)
    pairs = drawn_pairs(all_pairs(demo_traces, tokenizer), PAIRS_PER_PROBLEM, seed + 2)
    for name in ("judge", "encoder"):
        tau = saved_tau(models / name) or 0.5
        metrics[name] = {**measure_judge(pairs, scores_of(models / name, pairs)), "tau": tau}
        logger.info("%s: %s", name, metrics[name])
    pruned = demo_traces[:NUM_PRUNED]
    every = all_pairs(pruned, tokenizer, unanswered=True)
    p_same = scores_of(models / "judge", every)
    metrics["pruning"] = measure_pruning(pruned, every, p_same, metrics["judge"]["tau"])
    logger.info("pruning: %s", metrics["pruning"])
    return metrics


def finish(models: Path, metrics: dict[str, dict[str, float]]) -> None:
    """Sizes, `metrics.json` and the cards."""
    for name in ("reasoner", "judge", "encoder"):
        weights = models / name / "model.safetensors"
        metrics[name]["megabytes"] = weights.stat().st_size / 1e6
        metrics[name]["parameters"] = num_parameters(load_model(models / name))
    metrics["sampling"] = {"temperature": TEMPERATURE, "max_tokens": MAX_TOKENS}
    rounded = {k: {n: round(v, 4) for n, v in part.items()} for k, part in metrics.items()}
    (models / "metrics.json").write_text(json.dumps(rounded, indent=2) + "\n")
    for name in ("reasoner", "judge", "encoder"):
        (models / name / "README.md").write_text(model_card(name, rounded))


def model_card(name: str, metrics: Mapping[str, Mapping[str, float]]) -> str:
    """Return the `README.md` of a model: its text in `cards/`, with the measured figures."""
    built = metrics["build"]
    if "minutes" in built:
        duration = f"about {built['minutes']:.0f} minutes"
    else:
        duration = (
            f"an estimated {built['estimated_minutes']:.0f} minutes\n"
            "(the shipped weights come from the same steps, run in several parts)"
        )
    figures: dict[str, Any] = {"checkpoint": CHECKPOINT_TOKENS, "duration": duration}
    for part in ("pruning", "sampling", "build", name):
        figures |= metrics[part]
    if name != "reasoner":
        figures["measured"] = (CARDS / "measured.md").read_text().format(**figures)
    return (CARDS / f"{name}.md").read_text().format(**figures)


def swap(new: Path, old: Path) -> None:
    """Put `new` where `old` is."""
    if old.is_dir():
        shutil.rmtree(old)
    new.rename(old)


def _sample(folder: Path, problems: Sequence[Problem], count: int, seed: int) -> list[Sampled]:
    # A process of its own: the engine binds threads and memory for as long as the process lives.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
        task = pool.submit(sample_traces, folder, problems, count, TEMPERATURE, seed)
        sampled = task.result()
    logger.info("sampled %d traces of %d problems", count * len(problems), len(problems))
    return sampled


def main(
    out: Path = MODELS, minutes: float = NOMINAL_MINUTES, seed: int = 0, threads: int = 2
) -> None:
    """Rebuild the miniature's models from nothing, in about so many minutes."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    build(out, minutes, seed, threads)


if __name__ == "__main__":
    typer.run(main)
