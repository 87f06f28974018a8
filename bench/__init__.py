"""What a packet costs, measured beside programs that do next to nothing."""
