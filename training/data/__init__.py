"""Clips on disk: reading, writing, converting, checking, and batches of them for training."""
