"""A tiny reasoner and a tiny judge, trained from nothing, so that pruning runs on a laptop."""
