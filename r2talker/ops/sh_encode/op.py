"""Public door of the spherical harmonics encoding."""

from jaxtyping import Float
from torch import Tensor

from r2talker.ops.sh_encode import reference


def sh_encode(directions: Float[Tensor, "rays 3"]) -> Float[Tensor, "rays 16"]:
    """Degree-4 real spherical harmonics of unit directions, used as they are, without rescaling (upstream.md 3.2).

    Raises ValueError unless `directions` is [N, 3].
    """
    if directions.ndim != 2 or directions.shape[1] != 3:
        raise ValueError(f"sh_encode: directions must be [rays, 3], got {list(directions.shape)}")
    return reference.encode(directions)
