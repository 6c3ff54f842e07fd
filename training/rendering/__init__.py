"""Volume rendering of tri-planes: rays, samples along them, marching, the renderer."""
