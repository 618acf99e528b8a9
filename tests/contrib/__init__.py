"""Web frameworks and migration tools."""
