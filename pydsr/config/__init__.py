"""The configuration file: YAML to a checked configuration, and back."""
