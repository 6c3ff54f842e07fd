"""The model and how it learns."""
