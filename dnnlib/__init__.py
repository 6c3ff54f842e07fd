"""Helpers that know nothing of torch or of the model: errors, files, videos, command lines."""
