"""Videos in the wild -> aligned clips with a camera per frame (PV3D section A.3)."""
