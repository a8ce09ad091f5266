"""Runs, recordings and benchmarks on disk."""
