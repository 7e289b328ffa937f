"""Face parsing by BiSeNet (Yu et al. 2018) with the weights `79999_iter.pth` that users of this family have (upstream.md 1.2).

The weights are the user's own; the network is written from its description, and its tensors have the names of that file.
"""

import pickle
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn.functional import interpolate, relu

from r2talker.errors import R2TalkerError

CLASSES = 19
"""0 background, 1-13 face with glasses and ears, 14 neck, 15 necklace, 16 cloth, 17 hair, 18 hat (CelebAMask-HQ)."""

FILE = "79999_iter.pth"
SIZE = 512
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class ConvNormRelu(nn.Module):
    """Convolution without bias, batch normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Float[Tensor, "batch inputs height width"]) -> Float[Tensor, "batch outputs height width"]:
        return relu(self.bn(self.conv(x)))


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut (He et al. 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Float[Tensor, "batch inputs height width"]) -> Float[Tensor, "batch outputs rows columns"]:
        shortcut = x if self.downsample is None else self.downsample(x)
        return relu(shortcut + self.bn2(self.conv2(relu(self.bn1(self.conv1(x))))))


class Trunk(nn.Module):
    """ResNet-18 without its classifier: features at 1/8, 1/16 and 1/32."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = nn.Sequential(BasicBlock(64, 64, 1), BasicBlock(64, 64, 1))
        self.layer2 = nn.Sequential(BasicBlock(64, 128, 2), BasicBlock(128, 128, 1))
        self.layer3 = nn.Sequential(BasicBlock(128, 256, 2), BasicBlock(256, 256, 1))
        self.layer4 = nn.Sequential(BasicBlock(256, 512, 2), BasicBlock(512, 512, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = nn.functional.max_pool2d(relu(self.bn1(self.conv1(x))), 3, 2, 1)
        eighth = self.layer2(self.layer1(x))
        sixteenth = self.layer3(eighth)
        return eighth, sixteenth, self.layer4(sixteenth)


class Refinement(nn.Module):
    """A convolution whose channels are weighted by what the whole picture holds."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = ConvNormRelu(inputs, outputs, 3)
        self.conv_atten = nn.Conv2d(outputs, outputs, 1, bias=False)
        self.bn_atten = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x * torch.sigmoid(self.bn_atten(self.conv_atten(x.mean((2, 3), keepdim=True))))


class ContextPath(nn.Module):
    """The trunk and its refined, upsampled features: trunk features at 1/8, context at 1/8."""

    def __init__(self) -> None:
        super().__init__()
        self.resnet = Trunk()
        self.arm16, self.arm32 = Refinement(256, 128), Refinement(512, 128)
        self.conv_head32, self.conv_head16 = ConvNormRelu(128, 128, 3), ConvNormRelu(128, 128, 3)
        self.conv_avg = ConvNormRelu(512, 128, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        eighth, sixteenth, thirty_second = self.resnet(x)
        whole = self.conv_avg(thirty_second.mean((2, 3), keepdim=True))
        # One value per channel, so upsampling it is broadcasting.
        up32 = self.conv_head32(interpolate(self.arm32(thirty_second) + whole, sixteenth.shape[2:], mode="nearest"))
        up16 = self.conv_head16(interpolate(self.arm16(sixteenth) + up32, eighth.shape[2:], mode="nearest"))
        return eighth, up16


class Fusion(nn.Module):
    """Joins both paths and adds what a channel gate picks."""

    def __init__(self) -> None:
        super().__init__()
        self.convblk = ConvNormRelu(256, 256, 1)
        self.conv1 = nn.Conv2d(256, 64, 1, bias=False)
        self.conv2 = nn.Conv2d(64, 256, 1, bias=False)

    def forward(self, spatial: Tensor, context: Tensor) -> Tensor:
        x = self.convblk(torch.cat([spatial, context], dim=1))
        gate = torch.sigmoid(self.conv2(relu(self.conv1(x.mean((2, 3), keepdim=True)))))
        return x * gate + x


class Output(nn.Module):
    """Class scores at 1/8."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.conv = ConvNormRelu(inputs, hidden, 3)
        self.conv_out = nn.Conv2d(hidden, CLASSES, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv_out(self.conv(x))


class BiSeNet(nn.Module):
    """Scores of 19 classes for every pixel; `conv_out16` and `conv_out32` served its training and are only held."""

    def __init__(self) -> None:
        super().__init__()
        self.cp = ContextPath()
        self.ffm = Fusion()
        self.conv_out = Output(256, 256)
        self.conv_out16 = Output(128, 64)
        self.conv_out32 = Output(128, 64)

    def forward(self, x: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 19 height width"]:
        eighth, context = self.cp(x)
        scores = self.conv_out(self.ffm(eighth, context))
        return interpolate(scores, x.shape[2:], mode="bilinear", align_corners=True)


def load_bisenet(path: Path, device: torch.device | None = None) -> BiSeNet:
    """The network with the user's weights, ready to parse; nothing but tensors is read from the file.

    Raises R2TalkerError when the file is missing, damaged, or holds other tensors.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise R2TalkerError(f"cannot read {path}: {error.strerror or error}; check the path") from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise R2TalkerError(f"{path} is damaged or holds more than tensors; fetch {FILE} again") from error
    network = BiSeNet()
    try:
        network.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise R2TalkerError(f"{path} does not hold the 19-class BiSeNet ({reason}); give the file {FILE}") from error
    return network.eval().requires_grad_(False).to(device or torch.device("cpu"))


@torch.inference_mode()
def parse_faces(network: BiSeNet, pictures: UInt8[Tensor, "batch height width 3"]) -> UInt8[Tensor, "batch height width"]:
    """Class of every pixel of RGB pictures: scores at 512 x 512, the winner brought back to the pictures' size (upstream.md 1.2)."""
    device = next(network.parameters()).device
    size = (pictures.shape[1], pictures.shape[2])
    x = pictures.to(device).permute(0, 3, 1, 2).float() / 255
    x = interpolate(x, (SIZE, SIZE), mode="bilinear", align_corners=False) if size != (SIZE, SIZE) else x
    mean, std = (torch.tensor(values, device=device)[:, None, None] for values in (_MEAN, _STD))
    winner = network((x - mean) / std).argmax(1, keepdim=True).to(torch.uint8)
    return interpolate(winner, size, mode="nearest")[:, 0].cpu()
