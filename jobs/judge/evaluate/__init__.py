"""`deepprune evaluate`: how good judges are, as tables, plots and saved scores."""

from __future__ import annotations

import argparse


def evaluate(options: argparse.Namespace) -> int:
    """Run the command.

    Raises:
        UserError: the pairs, a judge or the folder cannot work.
    """
    from jobs.judge.evaluate.command import Options, evaluate_judges

    return evaluate_judges(
        Options(
            pairs=options.pairs,
            judges=tuple(dict.fromkeys(options.judges)),
            out=options.out,
            checkpoint=options.checkpoint,
            split=options.split,
            max_pairs=options.max_pairs,
            max_tokens=options.max_tokens,
            target_error=options.target_error,
            save_threshold=options.save_threshold,
            cascade=options.cascade,
        )
    )
