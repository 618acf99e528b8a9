"""The scripts and apps in examples/."""
