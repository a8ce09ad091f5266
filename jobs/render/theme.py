"""One palette for plots, pages and terminals."""

from __future__ import annotations

from deepprune.ledger import Fate
from deepprune.policy_config import POLICY_NAMES

PALETTE = (
    "#2b7bba",
    "#e69f00",
    "#009e73",
    "#cc79a7",
    "#d55e00",
    "#7cc4f0",
    "#8c6bb1",
    "#b5a642",
)
"""Colours of clusters and answers, told apart with any kind of colour vision."""
OTHER_COLOUR = "#999999"
"""Of everything beyond the palette."""
INK, QUIET, FAINT, PAPER = "#22272b", "#5f676e", "#dfe3e6", "#ffffff"
DARK = {INK: "#e4e7ea", QUIET: "#a2a9b0", FAINT: "#3a4046", PAPER: "#1b1e21"}
"""What the greys become in the dark scheme."""
JUDGE_COLOUR = PALETTE[6]

FATE_COLOURS = {
    Fate.FINISHED: PALETTE[2],
    Fate.CANCELLED_AFTER_CHECKPOINT: PALETTE[1],
    Fate.CANCELLED_BEFORE_CHECKPOINT: PALETTE[5],
    Fate.LOST: PALETTE[4],
}
FATE_NAMES = {
    Fate.FINISHED: "finished",
    Fate.CANCELLED_AFTER_CHECKPOINT: "cancelled after the checkpoint",
    Fate.CANCELLED_BEFORE_CHECKPOINT: "cancelled before the checkpoint",
    Fate.LOST: "lost",
}
_POLICY_COLOURS = dict(
    zip(
        ("deepprune+", "deepprune", "adaptive", "esc", "deepconf-low", "deepconf-high"),
        PALETTE,
        strict=False,
    )
) | {"short-m@k": PALETTE[7], "mmc": PALETTE[4]}


def colour(index: int) -> str:
    """The colour of the cluster or answer at `index`."""
    return PALETTE[index] if index < len(PALETTE) else OTHER_COLOUR


def policy_colour(policy: str) -> str:
    """The colour of a policy, the same in all plots."""
    if policy == "cons":
        return INK
    known = PALETTE[6] if policy in POLICY_NAMES else OTHER_COLOUR
    return _POLICY_COLOURS.get(policy, known)
