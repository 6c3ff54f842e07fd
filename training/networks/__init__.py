"""The networks: layers, mapping, motion, backbone, super-resolution, generator, discriminators."""
