"""What is shown: rich renderables and JSON, pure functions of data."""
