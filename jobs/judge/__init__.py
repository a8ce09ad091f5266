"""Commands that make and measure judges: `pairs`, `train`, `cheap`, `evaluate` and `ablate`."""
