"""How alike the motions of one head are: a regularisation that the paper does not have.

Neither discriminator sees two motions of one head. So a generator that moves a head by one path of time, whatever the
motion code, deceives them as well as one that listens to the code, and training drifts there.
"""

import torch

from training.networks.generator import Generator

EPS = 1e-6  # beside the mean square of a change of colours in [-1, 1]: what hardly moves is alike in nothing


def motion_likeness(
    G: Generator,
    ws: torch.Tensor,
    camera: torch.Tensor,
    t: torch.Tensor,
    z_motion: torch.Tensor,
    others: torch.Tensor,
) -> torch.Tensor:
    """Return how alike each head moves with two motion codes until a moment: 1 alike, 0 independent, -1 opposite.

    Changes are raw images less that of t = 0, where all motions of a head begin. Their product is compared with their
    mean square, so the size of motions has no part in it. For independent codes its mean over heads is about 1 less
    the score `motion-share`.

    Args:
        ws: [B, num_ws, w_dim].
        camera: [B, 25].
        t: [B, 1], in [0, 1].
        z_motion, others: codes that drive the motion, [B, D].

    Returns:
        [B], with a graph to the generator.
    """
    start = _raw_images(G, ws, camera, t * 0, z_motion)
    first = _raw_images(G, ws, camera, t, z_motion) - start
    second = _raw_images(G, ws, camera, t, others) - start
    product = (first * second).mean(dim=[1, 2, 3])
    squares = (first.square() + second.square()).mean(dim=[1, 2, 3]) / 2
    return product / (squares + EPS)


def _raw_images(
    G: Generator, ws: torch.Tensor, camera: torch.Tensor, t: torch.Tensor, z_motion: torch.Tensor
) -> torch.Tensor:
    """Return raw images [B, 3, r, r], which differ by nothing but code and time: no noise, no jitter.

    They are exact in every precision: bfloat16 rounds them by 0.003 (root mean square; the shipped model), half of what
    moves until t = 0.1, and the rounding of the start would be common to both changes.
    """
    planes = G.planes(ws, z_motion, t, "const", exact=True)
    return G.render_planes(planes, ws, camera, with_image=False)["image_raw"]
