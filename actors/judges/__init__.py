"""Judges of prefix pairs: pairwise (vLLM), encoder (vectors), features (stated facts)."""
