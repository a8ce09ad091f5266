"""Start and stop the system on a Ray cluster; check a configuration first."""
