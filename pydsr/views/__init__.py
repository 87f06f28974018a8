"""Views of the model for people and scripts: text, JSON and the live view. Pure."""
