"""EG3D (Chan et al., CVPR 2022): a static generator of images, which PV3D is built on.

Each sample is one random frame of a clip with its camera, so `--batch`, `--kimg` and `--tick` count images. Numbers are
those of its paper at 512 x 512: 32 images a batch, R1 of gamma 1, density regularisation 0.25, 25 million images.
"""

from training.methods.method import Method

NO_MOTION = "it has no motion"
IMAGES_ALREADY = "it trains on images alone, which are --data"
ONE_FRAME = "each sample is one frame, which the image discriminator judges"

EG3D = Method(
    name="eg3d",
    about="static, trained on single frames",
    fixed={
        "generator.motion": "none",
        "generator.raw_layer": False,
        "generator.camera_mode": "MapT",
        "discriminator.image": True,
        "discriminator.video": False,
        "loss.lambda_motion": 0.0,
        "training.frames": 1,
        "training.window": 1,  # so that any frame of a clip is as likely, at time 0
    },
    defaults={
        "loss.lambda_reg": 0.25,
        "loss.gamma": 1.0,
        "training.batch": 32,
        "training.kimg": 25000.0,
    },
    # As many frames a batch, and in all, as the preset's pairs have.
    of_presets={"demo": {"training.batch": 16, "training.kimg": 400.0, "training.tick": 0.4}},
    refused={
        "--motion-blocks": NO_MOTION,
        "--motion-generator": NO_MOTION,
        "--motion-code": NO_MOTION,
        "--motion-weight": NO_MOTION,
        "--lambda-motion": NO_MOTION,
        "--camera-mode": ONE_FRAME,
        "--image-discriminator": ONE_FRAME,
        "--video-discriminator": ONE_FRAME,
        "--video-cameras": ONE_FRAME,
        "--video-dt": ONE_FRAME,
        "--lambda-vid": ONE_FRAME,
        "--image-share": IMAGES_ALREADY,
        "--image-share-end": IMAGES_ALREADY,
        "--image-share-fade": IMAGES_ALREADY,
        "--window": "each sample is one frame of a whole clip",
    },
)
