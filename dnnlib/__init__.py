"""Helpers that know nothing of torch or of the model: files, caches, locks, processes, videos, pages, command lines."""
