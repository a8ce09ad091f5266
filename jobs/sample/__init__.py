"""Commands that sample: `answer`, `demo`, `collect` and `serve`."""
