"""`embedq doctor`, and the look around at start."""
