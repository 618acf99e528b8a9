"""Heartbeats, rescue, leadership."""
