"""BiSeNet has the tensors of `79999_iter.pth`, computes what its description says, and loads nothing but tensors."""

import os
from pathlib import Path

import pytest
import torch
from torch.nn.functional import conv2d, interpolate

from r2talker.errors import R2TalkerError
from r2talker.face.bisenet import BiSeNet, ContextPath, Fusion, Refinement, load_bisenet, parse_faces

SHAPES = {
    "cp.resnet.conv1.weight": (64, 3, 7, 7),
    "cp.resnet.bn1.running_mean": (64,),
    "cp.resnet.layer1.1.conv2.weight": (64, 64, 3, 3),
    "cp.resnet.layer2.0.downsample.0.weight": (128, 64, 1, 1),
    "cp.resnet.layer4.0.downsample.1.num_batches_tracked": (),
    "cp.resnet.layer4.1.bn2.bias": (512,),
    "cp.arm16.conv.conv.weight": (128, 256, 3, 3),
    "cp.arm16.conv_atten.weight": (128, 128, 1, 1),
    "cp.arm32.bn_atten.running_var": (128,),
    "cp.arm32.conv.bn.weight": (128,),
    "cp.conv_head32.conv.weight": (128, 128, 3, 3),
    "cp.conv_head16.bn.weight": (128,),
    "cp.conv_avg.conv.weight": (128, 512, 1, 1),
    "ffm.convblk.conv.weight": (256, 256, 1, 1),
    "ffm.conv1.weight": (64, 256, 1, 1),
    "ffm.conv2.weight": (256, 64, 1, 1),
    "conv_out.conv.conv.weight": (256, 256, 3, 3),
    "conv_out.conv_out.weight": (19, 256, 1, 1),
    "conv_out16.conv.conv.weight": (64, 128, 3, 3),
    "conv_out32.conv_out.weight": (19, 64, 1, 1),
}


@pytest.fixture(scope="module")
def network() -> BiSeNet:
    torch.manual_seed(3)
    return BiSeNet().eval()


@pytest.fixture(scope="module")
def weights(network: BiSeNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "79999_iter.pth"
    torch.save(network.state_dict(), path)
    return path


def test_names_and_shapes(network: BiSeNet) -> None:
    state = network.state_dict()
    assert {name: tuple(state[name].shape) for name in SHAPES} == SHAPES
    assert not [name for name in state if name.endswith("bias") and "bn" not in name and "downsample.1" not in name]
    assert "cp.resnet.fc.weight" not in state


def test_a_refinement_gates_its_channels() -> None:
    torch.manual_seed(0)
    arm = Refinement(6, 4).eval()
    x = torch.randn(2, 6, 5, 7)
    y = arm.conv(x)
    scale = arm.bn_atten.weight / torch.sqrt(arm.bn_atten.running_var + arm.bn_atten.eps)
    gate = torch.sigmoid(conv2d(y.mean((2, 3))[:, :, None, None], arm.conv_atten.weight) * scale[:, None, None])
    torch.testing.assert_close(arm(x), y * gate)


def test_context_adds_the_whole_picture_and_the_coarser_level() -> None:
    torch.manual_seed(1)
    path, x = ContextPath().eval(), torch.randn(1, 3, 96, 64)
    eighth, sixteenth, thirty_second = path.resnet(x)
    assert [tuple(t.shape[1:]) for t in (eighth, sixteenth, thirty_second)] == [(128, 12, 8), (256, 6, 4), (512, 3, 2)]
    whole = path.conv_avg(thirty_second.mean((2, 3), keepdim=True))
    up32 = path.conv_head32(interpolate(path.arm32(thirty_second) + interpolate(whole, (3, 2)), scale_factor=2))
    up16 = path.conv_head16(interpolate(path.arm16(sixteenth) + up32, scale_factor=2))
    trunk, context = path(x)
    assert torch.equal(trunk, eighth)
    torch.testing.assert_close(context, up16)


def test_fusion_adds_what_its_gate_picks() -> None:
    torch.manual_seed(2)
    fusion, a, b = Fusion().eval(), torch.randn(1, 128, 4, 4), torch.randn(1, 128, 4, 4)
    x = fusion.convblk(torch.cat([a, b], 1))
    gate = torch.sigmoid(fusion.conv2(fusion.conv1(x.mean((2, 3), keepdim=True)).relu()))
    torch.testing.assert_close(fusion(a, b), x * (1 + gate))


def test_parsing_takes_the_winner_at_512(network: BiSeNet, weights: Path) -> None:
    torch.manual_seed(4)
    pictures = torch.randint(0, 256, (1, 512, 512, 3), dtype=torch.uint8)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.inference_mode():
        scores = network(((pictures.float() / 255 - mean) / std).permute(0, 3, 1, 2))
    found = parse_faces(load_bisenet(weights), pictures)
    assert found.dtype == torch.uint8
    assert (found == scores.argmax(1)).float().mean() > 0.999  # ties of random scores may fall either way


def test_other_sizes_come_back_in_their_own(weights: Path) -> None:
    found = parse_faces(load_bisenet(weights), torch.randint(0, 256, (2, 100, 100, 3), dtype=torch.uint8))
    assert found.shape == (2, 100, 100)
    assert found.max() < 19


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.path}",)


def test_what_is_no_weights_is_refused(network: BiSeNet, tmp_path: Path) -> None:
    path, made = tmp_path / "79999_iter.pth", tmp_path / "made"
    with pytest.raises(R2TalkerError, match="cannot read"):
        load_bisenet(path)
    path.write_bytes(b"hello")
    with pytest.raises(R2TalkerError, match="damaged"):
        load_bisenet(path)
    torch.save({"conv.weight": Evil(made)}, path)
    with pytest.raises(R2TalkerError, match="more than tensors"):
        load_bisenet(path)
    assert not made.exists()
    state = network.state_dict()
    torch.save({name: value for name, value in state.items() if "arm16" not in name}, path)
    with pytest.raises(R2TalkerError, match=r"does not hold the 19-class BiSeNet.*arm16"):
        load_bisenet(path)
    torch.save([1, 2], path)
    with pytest.raises(R2TalkerError, match="does not hold"):
        load_bisenet(path)
