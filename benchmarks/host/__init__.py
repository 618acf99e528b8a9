"""What a web app pays for its background jobs: a server, its load, and a client, each a process of its own."""
