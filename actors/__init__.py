"""Thin actors and their drivers: they carry out what policies decide."""
