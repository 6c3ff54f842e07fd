"""From codes to clips of frames, and from these to pictures and meshes."""
