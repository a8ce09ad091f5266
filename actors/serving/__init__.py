"""The production endpoint: OpenAI-compatible HTTP in front of generators, judges and policies."""
