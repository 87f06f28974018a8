"""The domain of pydsr as immutable values, without I/O."""
