"""3DVidGen (EG3D), a baseline of PV3D's Table 1: EG3D with the motion of 3DVidGen (Bahmani et al., TMLR 2023).

The authors of PV3D have published no code of it; docs/methods.md says what is decided here, and why. The planes of a
video are static, motion enters the decoder of points, all frames share one camera, and the video discriminator sees no
cameras. Weights of losses: 3DVidGen's (1, 1); R1, density regularisation and batch: EG3D's.
"""

from training.methods.method import Method

IN_DECODER = "its motion enters the decoder, not the backbone"

VIDGEN_EG3D = Method(
    name="3dvidgen-eg3d",
    about="static planes, motion in the decoder, one camera a video",
    fixed={
        "generator.motion": "decoder",
        "generator.raw_layer": False,
        "generator.camera_mode": "All",
        "discriminator.video_cameras": False,
        "loss.lambda_motion": 0.0,
        "training.frames": 2,
    },
    defaults={
        "loss.lambda_img": 1.0,
        "loss.lambda_vid": 1.0,
        "loss.lambda_reg": 0.25,
        "loss.gamma": 1.0,
        "training.batch": 32,
    },
    of_presets={"demo": {"generator.motion_hidden": 32, "training.batch": 8}},
    refused={
        "--motion-blocks": IN_DECODER,
        "--motion-generator": IN_DECODER,
        "--motion-code": IN_DECODER,
        "--motion-weight": IN_DECODER,
        "--lambda-motion": "it has no such term",
        "--camera-mode": "all frames of a video share one camera",
        "--video-cameras": "its video discriminator sees no cameras",
    },
)
