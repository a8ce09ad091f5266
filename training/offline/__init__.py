"""Evaluation of judges on recorded pairs."""
