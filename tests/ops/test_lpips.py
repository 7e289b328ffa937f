"""LPIPS with random weights against a case worked out by hand, and the files that its weights come from."""

import math
from pathlib import Path

import pytest
import torch

from r2talker.errors import R2TalkerError
from r2talker.ops.lpips.network import CHANNELS, Lpips, load_lpips
from r2talker.ops.lpips.op import lpips
from tests.tolerances import assert_close


@pytest.fixture(scope="module")
def states() -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Random weights under the published names: AlexNet (with a classifier, which LPIPS does not use), linear weights."""
    torch.manual_seed(5)
    kernels = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)}
    backbone = {"classifier.6.weight": torch.randn(10, 8)}
    for number, (after, before, side) in kernels.items():
        backbone[f"features.{number}.weight"] = torch.randn(after, before, side, side) / math.sqrt(before * side * side)
        backbone[f"features.{number}.bias"] = 0.1 * torch.randn(after)
    linear = {f"lin{k}.model.1.weight": torch.rand(1, channels, 1, 1) for k, channels in enumerate(CHANNELS)}
    return backbone, linear


@pytest.fixture
def folder(states: tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]], tmp_path: Path) -> Path:
    torch.save(states[0], tmp_path / "alexnet-owt-7be5be79.pth")
    torch.save(states[1], tmp_path / "lpips_v0.1_lin_alex.pth")
    return tmp_path


@pytest.fixture
def network(folder: Path) -> Lpips:
    return load_lpips(folder)


def test_every_tensor_goes_where_its_name_says(
    network: Lpips, states: tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]
) -> None:
    backbone, linear = states
    for layer, number in enumerate((0, 3, 6, 8, 10)):
        assert torch.equal(network.convolutions[layer].weight, backbone[f"features.{number}.weight"])
        assert torch.equal(network.convolutions[layer].bias, backbone[f"features.{number}.bias"])
        assert torch.equal(network.weights[layer], linear[f"lin{layer}.model.1.weight"])


def test_layers_have_the_sizes_of_alexnet(network: Lpips) -> None:
    seen = network.features(torch.zeros(1, 3, 224, 224))
    assert [tuple(x.shape[1:]) for x in seen] == [(64, 55, 55), (192, 27, 27), (384, 13, 13), (256, 13, 13), (256, 13, 13)]


def test_plain_colours_by_hand() -> None:
    """The first layer sees the red of its middle pixel beside a constant one; the other layers do not count."""
    network = Lpips()
    with torch.no_grad():
        for convolution in network.convolutions:
            convolution.weight.zero_()
            convolution.bias.zero_()
        network.convolutions[0].weight[0, 0, 5, 5] = 1
        network.convolutions[0].bias[1] = 1
        network.weights[0][0, :2, 0, 0] = torch.tensor([3.0, 5.0])
    reds = (0.9, 0.6)
    a, b = (torch.full((1, 64, 48, 3), 0.5).index_fill(3, torch.tensor([0]), red) for red in reds)

    def unit(red: float) -> tuple[float, float]:
        x = (2 * red - 1 + 0.030) / 0.458
        return x / math.hypot(x, 1), 1 / math.hypot(x, 1)

    (p, q), (r, s) = map(unit, reds)
    assert_close(lpips(network, a, b), torch.tensor([3 * (p - r) ** 2 + 5 * (q - s) ** 2]), "dense")


def test_equal_pictures_are_no_distance_apart(network: Lpips) -> None:
    pictures = torch.rand(2, 64, 64, 3)
    assert lpips(network, pictures, pictures).tolist() == [0, 0]


def test_it_is_symmetric_and_grows_with_the_error(network: Lpips) -> None:
    torch.manual_seed(1)
    truth, noise = torch.rand(1, 64, 72, 3) * 0.5 + 0.25, torch.randn(1, 64, 72, 3)
    far = [float(lpips(network, truth + size * noise, truth)) for size in (0.01, 0.05, 0.2)]
    assert 0 < far[0] < far[1] < far[2]
    assert_close(lpips(network, truth, truth + 0.05 * noise), torch.tensor([far[1]]), "dense")


def test_it_can_be_a_loss(network: Lpips) -> None:
    made = torch.rand(1, 64, 64, 3, requires_grad=True)
    lpips(network, made, torch.rand(1, 64, 64, 3)).sum().backward()
    assert made.grad is not None
    assert torch.isfinite(made.grad).all()
    assert made.grad.abs().max() > 0


def test_pictures_that_do_not_fit(network: Lpips) -> None:
    with pytest.raises(ValueError, match="two batches"):
        lpips(network, torch.zeros(1, 64, 64, 3), torch.zeros(1, 64, 65, 3))
    with pytest.raises(ValueError, match="at least 32 pixels"):
        lpips(network, torch.zeros(1, 31, 64, 3), torch.zeros(1, 31, 64, 3))
    assert torch.isfinite(lpips(network, torch.zeros(1, 32, 64, 3), torch.ones(1, 32, 64, 3))).all()


def test_a_folder_without_weights(tmp_path: Path) -> None:
    with pytest.raises(R2TalkerError, match="holds neither"):
        load_lpips(tmp_path)


def test_one_of_two_files(folder: Path) -> None:
    (folder / "lpips_v0.1_lin_alex.pth").unlink()
    with pytest.raises(R2TalkerError, match=r"holds no \*alex.pth; LPIPS needs both"):
        load_lpips(folder)


def test_another_network(folder: Path) -> None:
    torch.save({"features.0.weight": torch.zeros(64, 3, 3, 3)}, folder / "alexnet-owt-7be5be79.pth")
    with pytest.raises(R2TalkerError, match=r"features.0.weight is of shape \[64, 3, 3, 3\], expected \[64, 3, 11, 11\]"):
        load_lpips(folder)
    torch.save([1, 2], folder / "alexnet-owt-7be5be79.pth")
    with pytest.raises(R2TalkerError, match="holds no named tensors"):
        load_lpips(folder)


def test_files_that_hold_code_are_refused(folder: Path, tmp_path: Path) -> None:
    torch.save({"features.0.weight": pytest.raises}, folder / "alexnet-owt-7be5be79.pth")
    with pytest.raises(R2TalkerError, match="damaged or holds more than tensors"):
        load_lpips(folder)
    (folder / "alexnet-owt-7be5be79.pth").write_bytes(b"no file of torch")
    with pytest.raises(R2TalkerError, match="damaged or holds more than tensors"):
        load_lpips(folder)
