"""Labelled pairs of prefixes, built by Ray Data from recorded traces."""
