"""Read frames from capture files and hex dumps."""
