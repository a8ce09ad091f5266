"""Hardware profiles, placement of replicas on them, and the shipped configurations."""
