"""`deepprune prior`: learn how votes split, from recordings or from runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from deepprune.promise import PRIOR_PROBLEMS, tally
from deepprune.recordings import Recording, load_recordings
from deepprune.split_prior import learn, shipped, write
from deepprune.splits import Tally, log_likelihoods
from deepprune.voting import Vote


def learn_prior(sources: Sequence[Path], out: Path) -> None:
    """Learn a prior from the votes of recorded problems, and write it to `out`.

    Raises:
        UserError: a source holds no recordings.
    """
    recordings = [recording for source in sources for recording in load_recordings(source)]
    rows = np.array([log_likelihoods(_votes(recording)) for recording in recordings])
    weights = learn(rows, np.array(shipped()), PRIOR_PROBLEMS)
    write(out, tuple(weights.tolist()))
    sys.stderr.write(
        f"learned from {len(recordings)} problems; use it with: --set policy.prior={out}\n"
    )


def _votes(recording: Recording) -> Tally:
    vote = Vote((trace.sample, trace.answer) for trace in recording.traces)
    lengths = {trace.sample: trace.num_tokens for trace in recording.traces}
    return tally([samples for _, samples in vote.groups], lengths, [], 0)
