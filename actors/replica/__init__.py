"""The inside of a Serve replica: engine, heartbeat, stall detector, caller watch."""
