"""Inversion of pictures and clips, what is built on it, and analyses of a model (PV3D section 4.4)."""
