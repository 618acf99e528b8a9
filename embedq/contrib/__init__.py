"""embedq in web frameworks: each module is for one, and imports it."""
