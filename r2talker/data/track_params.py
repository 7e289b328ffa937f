"""`track_params.pt`, the head tracking of AD-NeRF's tools (upstream.md 1.4 and 2.1): read and written."""

import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from r2talker.errors import R2TalkerError
from r2talker.files import replacing

FILE = "track_params.pt"
_DECIMETRES = 10.0


@dataclass(frozen=True)
class TrackParams:
    """identity, expression: coefficients in units of the basis' sigma. euler: radians. trans: decimetres. focal: pixels."""

    identity: Float[Tensor, "1 identities"]
    expression: Float[Tensor, "frames expressions"]
    euler: Float[Tensor, "frames 3"]
    trans: Float[Tensor, "frames 3"]
    focal: float

    def transforms(self) -> Float[np.ndarray, "frames 4 4"]:
        """Camera-to-world matrices of the head frame in metres, as `transforms_*.json` holds them."""
        rotation = euler_to_matrix(self.euler.double()).transpose(1, 2)
        matrices = torch.eye(4, dtype=torch.float64).repeat(len(self.euler), 1, 1)
        matrices[:, :3, :3] = rotation
        matrices[:, :3, 3] = -(rotation @ self.trans.double()[..., None])[..., 0] / _DECIMETRES
        return matrices.numpy()


def euler_to_matrix(euler: Float[Tensor, "frames 3"]) -> Float[Tensor, "frames 3 3"]:
    """Rx(theta) Ry(phi) Rz(-psi) of (theta, phi, psi): head to camera."""
    theta, phi, psi = euler.unbind(-1)
    zero, one = torch.zeros_like(theta), torch.ones_like(theta)

    def matrix(*entries: Tensor) -> Tensor:
        return torch.stack(entries, -1).reshape(-1, 3, 3)

    about_x = matrix(one, zero, zero, zero, theta.cos(), -theta.sin(), zero, theta.sin(), theta.cos())
    about_y = matrix(phi.cos(), zero, phi.sin(), zero, one, zero, -phi.sin(), zero, phi.cos())
    about_z = matrix(psi.cos(), psi.sin(), zero, -psi.sin(), psi.cos(), zero, zero, zero, one)
    return about_x @ about_y @ about_z


def read_track_params(path: Path) -> TrackParams:
    """Read the file without executing anything in it; R2TalkerError when it is missing, damaged, or of other shapes."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise R2TalkerError(f"cannot read {path}: {error.strerror or error}; check the path") from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise R2TalkerError(f"{path} is damaged or holds more than tensors; track the head again") from error
    try:
        tensors = {name: content[name].detach().float() for name in ("id", "exp", "euler", "trans", "focal")}
    except (KeyError, TypeError, AttributeError) as error:
        raise R2TalkerError(f"{path} is no head tracking ({error}); expected id, exp, euler, trans and focal") from error
    frames = len(tensors["euler"]) if tensors["euler"].dim() else 0
    fits = tensors["euler"].shape == tensors["trans"].shape == (frames, 3) and tensors["exp"].shape[:1] == (frames,)
    if not fits or frames == 0 or tensors["focal"].numel() != 1 or not all(bool(t.isfinite().all()) for t in tensors.values()):
        shapes = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in tensors.items())
        raise R2TalkerError(f"{path} holds {shapes}; expected exp [F, 79], euler and trans [F, 3], finite")
    identity = tensors["id"].reshape(1, -1)
    return TrackParams(identity, tensors["exp"], tensors["euler"], tensors["trans"], float(tensors["focal"]))


def write_track_params(path: Path, params: TrackParams) -> None:
    """Write the file as AD-NeRF's tools do, so that they and their followers read it."""
    content = {
        "id": params.identity,
        "exp": params.expression,
        "euler": params.euler,
        "trans": params.trans,
        "focal": torch.tensor([params.focal]),
    }
    with replacing(path) as temporary:
        torch.save({name: tensor.detach().cpu().float().clone() for name, tensor in content.items()}, temporary)
