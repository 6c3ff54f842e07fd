"""Pickles and torch files, read as plain records: nothing in them is called."""
