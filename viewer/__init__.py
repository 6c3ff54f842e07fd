"""A page that shows a snapshot live: `python -m viewer SNAPSHOT` (docs/viewer.md)."""
