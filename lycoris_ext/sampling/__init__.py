"""Pictures from a base model and adapters."""
