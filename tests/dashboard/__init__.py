"""The dashboard: most of it by requests, and in a real browser what needs one."""
