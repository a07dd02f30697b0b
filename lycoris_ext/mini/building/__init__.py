"""Build the small base model and its judges (`python -m lycoris_ext.mini.building`)."""
