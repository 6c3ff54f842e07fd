"""Scores of generated videos: FVD, KVD, ID, CD, WE and controls, with their protocols."""
