"""Commands that compare policies: `sweep` and `plan`."""
