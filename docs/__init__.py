"""The documentation, and generators for its tables and pictures."""
