"""The JSON documents that commands print, with their schemas."""
