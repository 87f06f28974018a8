"""What things are: immutable values, without I/O."""
