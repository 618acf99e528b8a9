"""The app of the library."""
