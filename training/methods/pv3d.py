"""PV3D (section 3): motion layers in the backbone, two discriminators that see cameras. The presets are its own."""

from training.methods.method import Method

PV3D = Method(
    name="pv3d",
    about="motion layers, both discriminators see cameras",
    fixed={
        "generator.motion": "layers",
        "generator.raw_layer": True,
        "training.frames": 2,
    },
)
