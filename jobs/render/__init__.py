"""Text, tables and figures for people to read."""
