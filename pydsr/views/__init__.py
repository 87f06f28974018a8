"""What users see: rich renderables and JSON, as pure functions of the model."""
