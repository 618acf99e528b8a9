"""The process around embedq: its threads, and which job made it crash."""
