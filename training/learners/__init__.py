"""Judges in training: models, losses, engines and the loop."""
