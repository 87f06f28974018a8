"""Configuration files: from YAML to a desired state, and back."""
