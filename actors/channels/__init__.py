"""Channels: one connection between a driver and each replica, for all its requests."""
