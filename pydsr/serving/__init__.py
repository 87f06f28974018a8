"""What pydsr serves over HTTP has in common: where it listens, and what it has seen of the maps."""
