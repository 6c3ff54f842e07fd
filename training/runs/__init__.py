"""A training run on the disk: its folder, which one to resume, its health, pictures and progress."""
