"""The status page of ``pydsr run --web``: what it shows, and the server that hands it out."""
