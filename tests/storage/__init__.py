"""What one database needs tests of its own for; what holds on all of them is in tests/conformance."""
