"""Stored values as text for people."""
