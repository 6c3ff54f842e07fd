"""Judges cameras from files: does each see the head, upright, and in which convention was a set likely written?"""
