"""EG3D + MCG-HD, a baseline of PV3D's Table 1: MoCoGAN-HD's motion (Tian et al., ICLR 2021) of a trained EG3D.

The authors of PV3D have published no code of it; docs/methods.md says what is decided here, and why. The generator is
that of a snapshot (`--generator`), and stays as it is. A chain of steps along the principal components of w is trained,
against patches of clips of 16 frames. Weights, rates and numbers of updates: MoCoGAN-HD's.
"""

from training.methods.method import Method

FROZEN = "its generator is that of --generator, as it is"
LATENTS = "its motion is a chain of latents"
PATCHES = "its discriminators judge patches of clips, and see no cameras"
NO_TERM = "it has no such term"
UNBLURRED = "its discriminators see frames as they are"
OWN_CAMERA = "a clip is mapped with its own camera"
IMAGES = "its generator has learned from images already"
FRAMES = 16  # of a clip

EG3D_MCGHD = Method(
    name="eg3d-mcghd",
    about="a chain of latents moves a trained EG3D (--generator), against patches of clips",
    fixed={
        "generator.motion": "chain",
        "generator.raw_layer": False,
        "generator.camera_mode": "All",
        "generator.motion_code": "z_m",
        "discriminator.judges": "patches",
        "discriminator.image": True,
        "discriminator.video": True,
        "discriminator.video_cameras": False,
        "discriminator.video_dt": False,
        "images.share": 0.0,
        "images.share_end": None,
        "loss.lambda_reg": 0.0,
        "loss.lambda_motion": 0.0,
        "loss.blur_sigma": 0.0,
        "loss.swap_start": 0.0,
        "loss.swap_end": 0.0,
        "training.frames": FRAMES,
        "training.window": FRAMES,
        "training.g_reg_interval": None,
        "training.d_reg_interval": None,
        "training.ema_kimg_factor": 0.0,  # the generator that is shown is the one that is trained
        "training.reuse_fakes": False,
    },
    defaults={
        "generator.motion_hidden": 384,
        "generator.z_motion_dim": 512 * (FRAMES - 1),
        "loss.lambda_vid": 1.0,
        "loss.gamma": 10.0,
        "training.glr": 0.0001,
        "training.dlr": 0.0001,
        "training.betas": (0.5, 0.999),
        "training.kimg": 400.0,
        "training.tick": 0.8,
    },
    of_presets={
        "demo": {
            "generator.motion_hidden": 96,
            "generator.z_motion_dim": 128 * (FRAMES - 1),
            "training.component_latents": 10**5,
            "training.batch": 4,
            "training.kimg": 8.0,
            "training.tick": 0.1,
        },
    },
    moves_a_generator=True,
    refused={
        "--neural-rendering-resolution": FROZEN,
        "--near": FROZEN,
        "--far": FROZEN,
        "--depth-samples": FROZEN,
        "--importance-samples": FROZEN,
        "--plane-axes": FROZEN,
        "--plane-resolution": FROZEN,
        "--cbase": FROZEN,
        "--cmax": FROZEN,
        "--img-resolution": FROZEN,
        "--camera-conditioning": FROZEN,
        "--motion-blocks": LATENTS,
        "--motion-generator": LATENTS,
        "--motion-code": LATENTS,
        "--motion-weight": LATENTS,
        "--camera-mode": "all frames of a video share one camera",
        "--d-cbase": PATCHES,
        "--image-discriminator": PATCHES,
        "--video-discriminator": PATCHES,
        "--video-cameras": PATCHES,
        "--video-dt": PATCHES,
        "--lambda-reg": NO_TERM,
        "--lambda-motion": NO_TERM,
        "--blur-sigma": UNBLURRED,
        "--swap-end": OWN_CAMERA,
        "--swap-fade": OWN_CAMERA,
        "--reuse-fakes": "the generator is updated five times an iteration, and all fakes are new",
        "--image-share": IMAGES,
        "--image-share-end": IMAGES,
        "--image-share-fade": IMAGES,
        "--window": f"its clips are {FRAMES} frames that follow each other",
    },
)
