"""The promises, kept by real processes under real signals."""
