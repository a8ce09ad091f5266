"""`deepprune check`: look at a configuration and its cluster before a long run."""
