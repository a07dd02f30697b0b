"""Draw pictures with the base model's pipeline and adapter files."""
