"""The live view of ``pydsr top``."""
