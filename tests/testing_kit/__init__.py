"""`embedq.testing` and its pytest plugin."""
