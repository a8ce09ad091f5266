"""Commands that train and measure judges: `pairs`, `train`, `cheap`, `evaluate`, `ablate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from typer import Argument, Option

from jobs.cli.options import (
    Address,
    Out,
    Pairs,
    PairsCheckpoint,
    Seed,
    Settings,
    TargetError,
    Verbose,
    overrides,
)
from training import TARGET_ERROR

app = typer.Typer()


@app.command()
def pairs(
    sources: Annotated[
        list[Path],
        Argument(
            metavar="SOURCE...",
            help="Recordings: folders of `collect`, `import` or a run, Parquet or JSONL files.",
        ),
    ],
    out: Out,
    checkpoint: Annotated[
        list[str] | None,
        Option(
            metavar="KIND:N",
            help="tokens:K or reasoning_words:W (repeatable); default: tokens:500.",
        ),
    ] = None,
    pairs_per_problem: Annotated[
        int | None, Option(min=1, metavar="N", help="At most; without it, all pairs.")
    ] = None,
    balanced: Annotated[
        bool, Option("--balanced", help="Draw at most half of the pairs from either class.")
    ] = False,
    seed: Seed = None,
    config: Annotated[Path | None, Option(help="YAML file of these and further settings.")] = None,
    settings: Settings = None,
    address: Address = None,
    verbose: Verbose = False,
) -> None:
    """Build labelled pairs of unfinished traces to train a judge on.

    Cut recorded traces at a checkpoint, pair them within each problem, label a pair by whether its
    answers agree, and split by problem. With the --out of a build that was stopped, continue it.
    """
    from jobs.judge.pairs import pairs

    options = {
        "checkpoints": checkpoint,
        "pairs_per_problem": pairs_per_problem,
        "balanced": balanced or None,
        "seed": seed,
    }
    pairs(sources, out, config, overrides(settings, options, example="test=0.2"), address)


@app.command()
def train(
    pairs: Pairs,
    config: Annotated[
        str,
        Option(
            help="Configuration file, or the name of a shipped one: tiny, smollm2, "
            "smollm2-encoder, qwen3-4b_a100x4, qwen3-4b_h20x8."
        ),
    ],
    out: Annotated[Path, Option(help="Folder to write; the judge is in its judge/.")],
    checkpoint: PairsCheckpoint = None,
    storage: Annotated[
        str | None,
        Option(
            metavar="URI",
            help="Where checkpoints go: a folder that all nodes see, s3://..., gs://..., "
            "hdfs://...; default: checkpoints/ in --out.",
        ),
    ] = None,
    seed: Seed = None,
    settings: Settings = None,
    address: Address = None,
    verbose: Verbose = False,
) -> None:
    """Train a judge on pairs.

    Train a language model to say whether two unfinished traces will end in the same answer. With
    the --out of a training that was stopped, continue from its last checkpoint.
    """
    from jobs.judge.train import train

    changed = overrides(settings, {"seed": seed}, example="learning_rate=1e-5")
    train(pairs, config, out, changed, checkpoint=checkpoint, storage=storage, address=address)


@app.command()
def cheap(
    pairs: Pairs,
    out: Annotated[Path, Option(help="Folder of the judge.")],
    checkpoint: PairsCheckpoint = None,
    target_error: TargetError = TARGET_ERROR,
    verbose: Verbose = False,
) -> None:
    """Train a judge that needs no model.

    Learn the feature judge from the training split of some pairs: a regression on facts that two
    prefixes state. Training takes seconds and no GPU; serving reads no token.
    """
    from jobs.judge.cheap import train_cheap

    train_cheap(pairs, out, checkpoint, target_error)


@app.command()
def evaluate(
    pairs: Pairs,
    judge: Annotated[
        list[str],
        Option(
            metavar="JUDGE",
            help="always-same, tfidf, embeddings, features (learned from the training split), the "
            "folder of a judge, or a language model to ask without training (repeatable).",
        ),
    ],
    out: Out,
    checkpoint: PairsCheckpoint = None,
    split: Annotated[
        Literal["train", "validation", "test"], Option(help="Pairs to score.")
    ] = "test",
    max_pairs: Annotated[
        int | None, Option(min=1, metavar="N", help="Score N pairs, drawn at random.")
    ] = None,
    max_tokens: Annotated[
        int | None,
        Option(
            min=1,
            metavar="N",
            help="Longest prompt of a pairwise judge; default: as in its training, or 2048.",
        ),
    ] = None,
    target_error: TargetError = TARGET_ERROR,
    save_threshold: Annotated[
        bool,
        Option(
            "--save-threshold",
            help="Write the threshold for --target-error, chosen on the validation pairs, into "
            "each judge's folder, where runs find it.",
        ),
    ] = False,
    cascade: Annotated[
        bool,
        Option(
            "--cascade",
            help="With two judges: let the first decide the clear pairs, the second the rest.",
        ),
    ] = False,
    verbose: Verbose = False,
) -> None:
    """Measure how good judges are, on held-out pairs.

    Score held-out pairs with some judges and compare them: AUROC over all pairs and within a
    problem, TNR@0.2, precision and recall, calibration. Save the scores, so that a sweep can replay
    with them.
    """
    from jobs.judge.evaluate.command import Options, evaluate_judges

    evaluate_judges(
        Options(
            pairs=pairs,
            judges=tuple(dict.fromkeys(judge)),
            out=out,
            checkpoint=checkpoint,
            split=split,
            max_pairs=max_pairs,
            max_tokens=max_tokens,
            target_error=target_error,
            save_threshold=save_threshold,
            cascade=cascade,
        )
    )


@app.command()
def ablate(
    config: Annotated[Path, Argument(help="Grid: recordings, train, pairs, settings, ...")],
    out: Out,
    address: Address = None,
    verbose: Verbose = False,
) -> None:
    """Train and evaluate a judge under each of several settings.

    Build pairs, train and evaluate for each checkpoint, loss and oversampling of a grid, and write
    one table (Table 1). With the --out of a grid that was stopped, continue it.
    """
    from jobs.judge.ablate import ablate

    ablate(config, out, address)
