"""The inside of a Serve replica: engine, stall detector, quick start."""
