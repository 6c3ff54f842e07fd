"""ArcFace with an IR-SE-50 backbone (Deng et al., 2019): unit embeddings of whole frames.

State-dict names are those of the public checkpoint model_ir_se50.pth.
"""

import torch
import torch.nn.functional as F
from torch import nn

from torch_utils.runtime import full_float32, select_device

SIDE = 112  # of the square frames that the network sees
DIM = 512
STAGES = ((64, 3), (128, 4), (256, 14), (512, 3))  # channels, blocks; every stage halves the resolution
SQUEEZE = 16  # channels per hidden unit of a squeeze-excitation


class SqueezeExcitation(nn.Module):
    """Channels weighted by a function of their means: [N, C, H, W] -> the same shape."""

    def __init__(self, channels: int):
        super().__init__()
        hidden = channels // SQUEEZE
        self.fc1 = nn.Conv2d(channels, hidden, 1, bias=False)
        self.fc2 = nn.Conv2d(hidden, channels, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.fc1(x.mean((2, 3), keepdim=True)).relu()
        return x * self.fc2(hidden).sigmoid()


class Block(nn.Module):
    """Residual block: [N, C, H, W] -> [N, C', H / stride, W / stride]."""

    def __init__(self, channels: int, outputs: int, stride: int):
        super().__init__()
        self.stride = stride
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(channels),
            nn.Conv2d(channels, outputs, 3, padding=1, bias=False),
            nn.PReLU(outputs),
            nn.Conv2d(outputs, outputs, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            SqueezeExcitation(outputs),
        )
        self.shortcut_layer = None
        if channels != outputs:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(channels, outputs, 1, stride, bias=False),
                nn.BatchNorm2d(outputs),
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.shortcut_layer is None:
            shortcut = x[:, :, :: self.stride, :: self.stride]
        else:
            shortcut = self.shortcut_layer(x)
        return self.res_layer(x) + shortcut


class ArcFace(nn.Module):
    """The network; in eval mode from the start, as it is for inference only."""

    def __init__(self) -> None:
        super().__init__()
        channels = STAGES[0][0]
        self.input_layer = nn.Sequential(
            nn.Conv2d(3, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.PReLU(channels),
        )
        self.body = nn.Sequential()
        for width, blocks in STAGES:
            for index in range(blocks):
                stride = 2 if index == 0 else 1
                self.body.append(Block(channels, width, stride))
                channels = width
        last_side = SIDE // 2 ** len(STAGES)
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(channels),
            nn.Dropout(),
            nn.Flatten(),
            nn.Linear(channels * last_side**2, DIM),
            nn.BatchNorm1d(DIM),
        )
        self.eval()

    def unnormalised(self, x: torch.Tensor) -> torch.Tensor:
        """Return embeddings [N, 512], of any length, of frames [N, 3, 112, 112] in [-1, 1]."""
        features = self.body(self.input_layer(x))
        return self.output_layer(features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return unit embeddings [N, 512] of frames [N, 3, 112, 112] in [-1, 1]."""
        x = self.unnormalised(x)
        return x / x.norm(dim=1, keepdim=True)


def preprocess(frames: torch.Tensor) -> torch.Tensor:
    """Resize whole frames, uint8 [N, 3, H, W] RGB -> float32 [N, 3, 112, 112] in [-1, 1]; bilinear, no antialiasing."""
    return F.interpolate(frames.float(), (SIDE, SIDE), mode="bilinear", align_corners=False) / 127.5 - 1


class ArcFaceEmbedder:
    """Embeddings of whole frames, without looking for the face (`detectors.FaceEmbedder`)."""

    dim = DIM

    def __init__(self, network: ArcFace, *, name: str, checksum: str, device: torch.device | str = "cpu"):
        self.device = select_device(device)
        self.network = network.to(self.device).requires_grad_(False)
        self.name = name
        self.checksum = checksum

    @torch.inference_mode()
    @full_float32()
    def __call__(self, frames: torch.Tensor) -> torch.Tensor:
        """Embed frames, uint8 [N, 3, H, W] RGB on any device -> float32 [N, 512] of length 1 on the detector's."""
        return self.network(preprocess(frames.to(self.device)))
