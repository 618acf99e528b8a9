"""What only a database on a server can do to us, or for us."""
