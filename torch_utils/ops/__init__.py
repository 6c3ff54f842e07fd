"""Filtering, activation, convolution and sampling primitives, each with a plain PyTorch path for any device."""
