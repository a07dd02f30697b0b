"""A run on disk: the names of its files, its events, its lock and its saved state."""
