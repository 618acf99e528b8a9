"""embedq in real web servers: real requests, reloads, signals and kills."""
