"""Monitoring, actions, copies and checks of a queue."""
