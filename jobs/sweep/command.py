"""`deepprune sweep`: every policy under every setting over the same problems, resumably.

Also what `ray job submit -- python -m jobs sweep CONFIG --out FOLDER` runs.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from deepprune.loading import find
from deepprune.sweep_config import load_sweep

SWEEPS = Path(__file__).parents[1] / "configs" / "sweeps"


def sweep(
    config_name: str, overrides: dict[str, Any], out: Path | None, address: str | None
) -> None:
    """Run the cells of a sweep that the folder lacks.

    Raises:
        UserError: the sweep, its recordings, its folder or the cluster cannot work.
    """
    path = find(config_name, list(SWEEPS.glob("*.yaml")), "sweep")
    config = load_sweep(path, overrides)
    out = out or Path("runs") / f"sweep-{path.stem}-{time.strftime('%Y%m%d-%H%M%S')}"
    if config.runs:
        from jobs.sample.run import Interrupted
        from jobs.sweep.live import live_sweep

        try:
            live_sweep(config, path.parent, out, address)
        except Interrupted:
            raise Interrupted(f"run it again with --out {out} to go on") from None
    else:
        from jobs.sweep.replay_tasks import replay_sweep

        replay_sweep(config, path.parent, out, address)
    sys.stderr.write(f"saved in {out}; look at it with: deepprune report {out}\n")
