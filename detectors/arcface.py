"""ArcFace with an IR-SE-50 backbone (Deng et al., 2019): unit embeddings of whole frames, and ID's preprocessing.

State-dict names are those of the public checkpoint model_ir_se50.pth.
"""

import torch
import torch.nn.functional as F
from torch import nn

SIDE = 112  # of the square frames that the network sees
DIM = 512
STAGES = ((64, 3), (128, 4), (256, 14), (512, 3))  # channels, blocks; every stage halves the resolution
SQUEEZE = 16  # channels per hidden unit of a squeeze-excitation


class SqueezeExcitation(nn.Module):
    """Channels weighted by a function of their means: [N, C, H, W] -> the same shape."""

    def __init__(self, channels: int):
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // SQUEEZE, 1, bias=False)
        self.fc2 = nn.Conv2d(channels // SQUEEZE, channels, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.fc2(self.fc1(x.mean((2, 3), keepdim=True)).relu()).sigmoid()


class Block(nn.Module):
    """Residual block: [N, C, H, W] -> [N, C', H / stride, W / stride]."""

    def __init__(self, channels: int, outputs: int, stride: int):
        super().__init__()
        self.stride = stride
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(channels),
            nn.Conv2d(channels, outputs, 3, 1, 1, bias=False),
            nn.PReLU(outputs),
            nn.Conv2d(outputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            SqueezeExcitation(outputs),
        )
        self.shortcut_layer = (
            None
            if channels == outputs
            else nn.Sequential(nn.Conv2d(channels, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = self.shortcut_layer(x) if self.shortcut_layer else x[:, :, :: self.stride, :: self.stride]
        return self.res_layer(x) + shortcut


class ArcFace(nn.Module):
    """The network; in eval mode from the start, as it is for inference only."""

    def __init__(self):
        super().__init__()
        widths = [width for width, blocks in STAGES for _ in range(blocks)]
        strides = [2 if first else 1 for _, blocks in STAGES for first in [True] + [False] * (blocks - 1)]
        before = [STAGES[0][0], *widths[:-1]]
        self.input_layer = nn.Sequential(
            nn.Conv2d(3, before[0], 3, 1, 1, bias=False), nn.BatchNorm2d(before[0]), nn.PReLU(before[0])
        )
        self.body = nn.Sequential(*map(Block, before, widths, strides))
        last = SIDE // 2 ** len(STAGES)
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(widths[-1]),
            nn.Dropout(),
            nn.Flatten(),
            nn.Linear(widths[-1] * last**2, DIM),
            nn.BatchNorm1d(DIM),
        )
        self.eval()

    def unnormalised(self, x: torch.Tensor) -> torch.Tensor:
        """Frames [N, 3, 112, 112] in [-1, 1] -> embeddings [N, 512] of any length."""
        return self.output_layer(self.body(self.input_layer(x)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Frames [N, 3, 112, 112] in [-1, 1] -> unit embeddings [N, 512]."""
        x = self.unnormalised(x)
        return x / x.norm(dim=1, keepdim=True)


def preprocess(frames: torch.Tensor) -> torch.Tensor:
    """Frames uint8 [N, 3, H, W] RGB, whole -> float32 [N, 3, 112, 112] in [-1, 1]; bilinear, no antialiasing."""
    resized = F.interpolate(frames.float(), (SIDE, SIDE), mode="bilinear", align_corners=False)
    return resized / 127.5 - 1


class ArcFaceEmbedder:
    """Embeddings of whole frames, without looking for the face (`detectors.FaceEmbedder`)."""

    dim = DIM

    def __init__(self, network: ArcFace, name: str, checksum: str, device: torch.device | str = "cpu"):
        self.network = network.to(device).requires_grad_(False)
        self.name, self.checksum, self.device = name, checksum, torch.device(device)

    @torch.inference_mode()
    def __call__(self, frames: torch.Tensor) -> torch.Tensor:
        """uint8 [N, 3, H, W] RGB on any device -> unit vectors float32 [N, 512] on the detector's."""
        return self.network(preprocess(frames.to(self.device)))
