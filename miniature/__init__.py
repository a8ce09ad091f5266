"""A tiny reasoner and a tiny judge, trained from nothing, so that pruning runs on a laptop."""

CHECKPOINT_TOKENS = 54
CHECKPOINT = f"tokens:{CHECKPOINT_TOKENS}"
"""Where prefixes are cut for the judges."""
