"""Files that hold networks: snapshots, training states, checkpoints of other software, safetensors."""
