"""Helpers that know torch and nothing of the model."""
