"""What is exactly known about a procedural clip, as numbers in `truth.npz`."""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from r2talker.errors import R2TalkerError
from r2talker.files import replacing

TRUTH_FILE = "truth.npz"
LABELS = {"background": 0, "head": 1, "neck": 2, "torso": 3}


@dataclass(frozen=True)
class SubjectTruth:
    """Exact truth of T pictures.

    focal: pixels. size: pixels. c2w: camera-to-world in NGP space (upstream.md 2.2). transform_matrix: the same pose as
    transforms_*.json holds it (head frame, columns right, up, backward; upstream.md 1.3). landmarks: 68 iBUG points in the head
    frame with the expression and without the pose, metres. landmarks_2d: pixels, x = column, y = row. rest_landmarks: the
    relaxed, silent face. mouth_opening: between points 62 and 66. lip_width: between 48 and 54, both metres.
    eye_opening: mean height of the left and the right opening in the picture, metres. eye_ratio: percent of the picture
    (upstream.md 2.7). open, width, press, blink, brow: see `face.Expression`. gaze: yaw to the
    picture's right and pitch up of both eyes in the head frame, radians. torso: right, up (metres), roll (radians).
    phones, phone_starts: what is said, and since when (seconds). labels: LABELS per pixel, or an array without pictures.
    """

    size: int
    focal: float
    c2w: Float[ndarray, "frames 4 4"]
    transform_matrix: Float[ndarray, "frames 4 4"]
    landmarks: Float[ndarray, "frames 68 3"]
    landmarks_2d: Float[ndarray, "frames 68 2"]
    rest_landmarks: Float[ndarray, "68 3"]
    mouth_opening: Float[ndarray, " frames"]
    lip_width: Float[ndarray, " frames"]
    eye_opening: Float[ndarray, "frames 2"]
    eye_ratio: Float[ndarray, " frames"]
    open: Float[ndarray, " frames"]
    width: Float[ndarray, " frames"]
    press: Float[ndarray, " frames"]
    blink: Float[ndarray, " frames"]
    brow: Float[ndarray, " frames"]
    gaze: Float[ndarray, "frames 2"]
    torso: Float[ndarray, "frames 3"]
    phones: ndarray
    phone_starts: Float[ndarray, " phones"]
    labels: UInt8[ndarray, "masks height width"]

    @property
    def frames(self) -> int:
        """Number of pictures."""
        return len(self.c2w)


def to_ngp(transform_matrix: Float[ndarray, "frames 4 4"]) -> Float[ndarray, "frames 4 4"]:
    """Camera-to-world in NGP space: axes (y, z, x), camera right/down/forward, positions times 4 (upstream.md 2.2)."""
    rows = transform_matrix[:, [1, 2, 0, 3]]
    scaled = rows * np.array([1.0, -1.0, -1.0, 4.0])
    scaled[:, 3] = [0, 0, 0, 1]
    return scaled


def project(
    points: Float[ndarray, "frames 68 3"], head: Float[ndarray, "frames 4 4"], focal: float, size: int
) -> Float[ndarray, "frames 68 2"]:
    """Pixels of head-frame points; `head` maps the head frame to camera space (x right, y up, looking along -z)."""
    seen = np.einsum("tij,tkj->tki", head[:, :3, :3], points) + head[:, None, :3, 3]
    return size / 2 + focal * np.stack([seen[..., 0], -seen[..., 1]], -1) / -seen[..., 2:]


def eye_ratio(landmarks_2d: Float[ndarray, "frames 68 2"], size: int) -> Float[ndarray, " frames"]:
    """Area of both eye openings in percent of the picture (upstream.md 2.7)."""
    total = np.zeros(len(landmarks_2d))
    for eye in (slice(36, 42), slice(42, 48)):
        x, y = landmarks_2d[:, eye, 0], landmarks_2d[:, eye, 1]
        total += 0.5 * np.abs((x * np.roll(y, -1, 1) - y * np.roll(x, -1, 1)).sum(1))
    return 100 * total / size**2


def save_truth(folder: Path, truth: SubjectTruth) -> None:
    """Write `truth.npz`; labels are packed to two bits a pixel."""
    arrays = {field.name: np.asarray(getattr(truth, field.name)) for field in fields(truth)}
    labels = arrays.pop("labels")
    arrays["labels_shape"] = np.array(labels.shape)
    arrays["labels_low"], arrays["labels_high"] = np.packbits(labels & 1), np.packbits(labels >> 1)
    with replacing(folder / TRUTH_FILE) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **arrays)


def load_truth(folder: Path) -> SubjectTruth:
    """Read `truth.npz`; R2TalkerError when it is missing or broken."""
    path = Path(folder) / TRUTH_FILE
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = dict(stored)
        shape = tuple(arrays.pop("labels_shape"))
        low, high = (np.unpackbits(arrays.pop(name), count=int(np.prod(shape))) for name in ("labels_low", "labels_high"))
        size, focal = int(arrays.pop("size")), float(arrays.pop("focal"))
        return SubjectTruth(size=size, focal=focal, labels=(low + 2 * high).reshape(shape), **arrays)
    except OSError as error:
        raise R2TalkerError(f"cannot read {path}: {error.strerror or error}; make the subject again") from error
    except (KeyError, TypeError, ValueError, EOFError) as error:
        raise R2TalkerError(f"{path} is not the truth of a procedural clip ({error}); make the subject again") from error
