"""Which slot belongs to which backend: pure functions, the hot loops in C."""
