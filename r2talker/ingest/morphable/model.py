"""A linear model of faces: shape from identity and expression, texture, and which vertices are landmarks."""

from dataclasses import dataclass, fields
from pathlib import Path

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from torch import Tensor

from r2talker.errors import R2TalkerError

FORMAT = "r2talker-morphable-1"
_MIDDLE = 8


@dataclass(frozen=True)
class MorphableModel:
    """Vertices in decimetres (x right, y up, z to the front), texture 0 to 255; bases in units of one standard deviation.

    vertex_triangles: triangles around each vertex, repeated to fill 8. landmarks: vertex of each of the 68 points; those of the
    jaw depend on the view: points 0 to 7 are the leftmost of `left_contour`, 9 to 16 the rightmost of `right_contour`.
    """

    mean: Float[Tensor, "vertices 3"]
    identity: Float[Tensor, "identities vertices 3"]
    expression: Float[Tensor, "expressions vertices 3"]
    texture_mean: Float[Tensor, "vertices 3"]
    texture: Float[Tensor, "textures vertices 3"]
    triangles: Int[Tensor, "triangles 3"]
    vertex_triangles: Int[Tensor, "vertices 8"]
    landmarks: Int[Tensor, "68"]
    left_contour: Int[Tensor, "8 candidates"]
    right_contour: Int[Tensor, "8 candidates"]
    rigid: Int[Tensor, " rigid"]

    def to(self, device: torch.device) -> "MorphableModel":
        """The same model on another device."""
        return MorphableModel(**{name: getattr(self, name).to(device) for name in TENSORS})

    def shape(
        self,
        identity: Float[Tensor, "1 identities"],
        expression: Float[Tensor, "frames expressions"],
        vertices: Int[Tensor, " chosen"] | None = None,
    ) -> Float[Tensor, "frames chosen 3"]:
        """Positions of all vertices, or of the chosen ones, for every frame."""
        mean, own, moved = self.mean, self.identity, self.expression
        if vertices is not None:
            mean, own, moved = mean[vertices], own[:, vertices], moved[:, vertices]
        rest = mean + torch.einsum("i,ivc->vc", identity[0], own)
        return rest + torch.einsum("fe,evc->fvc", expression, moved)

    def colours(self, texture: Float[Tensor, "1 textures"]) -> Float[Tensor, "vertices 3"]:
        """Unlit colours of the vertices."""
        return self.texture_mean + torch.einsum("t,tvc->vc", texture[0], self.texture)

    def landmark_candidates(self) -> Int[Tensor, " candidates"]:
        """All vertices that may be landmarks: the fixed ones, then both contours row by row."""
        return torch.cat([self.landmarks, self.left_contour.flatten(), self.right_contour.flatten()])

    def pick_landmarks(self, projected: Float[Tensor, "frames candidates 2"]) -> Float[Tensor, "frames 68 2"]:
        """The 68 points among the projected candidates, those of the jaw as the view shows them."""
        fixed, rest = projected[:, :68], projected[:, 68:]
        left, right = rest.split([self.left_contour.numel(), self.right_contour.numel()], dim=1)
        jaw = []
        for points, rows, sign in ((left, self.left_contour, 1), (right, self.right_contour, -1)):
            grid = points.unflatten(1, tuple(rows.shape))
            outermost = (sign * grid[..., 0]).argmin(2)[:, :, None, None].expand(-1, -1, 1, 2)
            jaw.append(grid.gather(2, outermost)[:, :, 0])
        return torch.cat([jaw[0], fixed[:, _MIDDLE : _MIDDLE + 1], jaw[1], fixed[:, 17:]], dim=1)


TENSORS = tuple(field.name for field in fields(MorphableModel))


def read_morphable(path: Path) -> MorphableModel:
    """Read what `r2talker convert-bfm` wrote; R2TalkerError when the file is missing or something else."""
    if not path.exists():
        raise R2TalkerError(f"{path} does not exist; make it with `r2talker convert-bfm 01_MorphableModel.mat`")
    try:
        with safe_open(str(path), "pt") as stored:
            if (stored.metadata() or {}).get("format") != FORMAT:
                raise R2TalkerError(f"{path} is not a converted face model; make it with `r2talker convert-bfm`")
            return MorphableModel(**{name: stored.get_tensor(name) for name in TENSORS})
    except (SafetensorError, OSError) as error:
        raise R2TalkerError(f"{path} is not a converted face model ({error}); make it with `r2talker convert-bfm`") from error
