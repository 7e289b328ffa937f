"""Which pixels show the person, by segmentation models that users of MediaPipe Tasks have.

Known by their file names, `.tflite` or `.task`, as MediaPipe's model page has them: `selfie_multiclass` (background, hair, body skin,
face skin, clothes, others), `selfie_segmenter` (person) and `hair_segmenter` (background, hair), which adds hair to the mask of the
package's own network.
"""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, UInt8

from r2talker.errors import R2TalkerError
from r2talker.face.graphs import load_solutions, muted, quiet
from r2talker.face.segmenter import PersonSegmenter

Kind = Literal["multiclass", "person", "hair"]
_KINDS: tuple[tuple[str, Kind], ...] = (
    ("selfie_multiclass", "multiclass"),
    ("selfie_segmenter", "person"),
    ("hair_segmenter", "hair"),
)
_SUFFIXES = (".tflite", ".task")


@dataclass(frozen=True)
class SegmenterFile:
    """A model's file and what its masks mean."""

    path: Path
    kind: Kind


def find_segmenter(folder: Path) -> SegmenterFile | None:
    """The model in a folder that tells most, or None."""
    files = sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES)
    found = (SegmenterFile(path, kind) for name, kind in _KINDS for path in files if name in path.name)
    return next(found, None)


def person_of(masks: list[Float32[np.ndarray, "height width"]], kind: Kind) -> Float32[np.ndarray, "height width"]:
    """Probability of the person (or of hair alone, for "hair") from a model's confidence masks, one for each class.

    Models of a single mask give it outright; of several the first is the background.
    """
    mask = masks[0] if len(masks) == 1 else masks[1] if kind == "hair" else 1 - masks[0]
    return np.clip(mask, 0, 1).astype(np.float32)


class BundleSegmenter:
    """Like `face.segmenter.PersonSegmenter`, with a model of the user's; a context manager.

    Raises R2TalkerError for a file that is no such model.
    """

    def __init__(self, file: SegmenterFile) -> None:
        load_solutions()
        with quiet():
            from mediapipe import Image, ImageFormat
            from mediapipe.tasks.python import BaseOptions, vision
        self._image: Any = lambda picture: Image(image_format=ImageFormat.SRGB, data=picture)
        self._kind, self._stack = file.kind, ExitStack()
        try:
            options = vision.ImageSegmenterOptions(
                base_options=BaseOptions(model_asset_buffer=file.path.read_bytes()), output_confidence_masks=True
            )
            with muted():
                self._segmenter: Any = vision.ImageSegmenter.create_from_options(options)
                # The first picture brings the last of the start-up notes.
                self._masks(np.full((64, 64, 3), 128, np.uint8))
        except OSError as error:
            raise R2TalkerError(f"cannot read {file.path}: {error.strerror or error}; check the path") from error
        except (RuntimeError, ValueError) as error:
            raise R2TalkerError(f"{file.path} is not a segmentation model of MediaPipe; fetch it again") from error
        self._own = self._stack.enter_context(PersonSegmenter()) if file.kind == "hair" else None

    def __enter__(self) -> "BundleSegmenter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._segmenter.close()
        self._stack.close()

    def segment(self, picture: UInt8[np.ndarray, "height width 3"]) -> Float32[np.ndarray, "height width"]:
        """Probability in [0, 1] that a pixel of an RGB picture shows the person."""
        mask = person_of(self._masks(picture), self._kind)
        return mask if self._own is None else np.maximum(mask, self._own.segment(picture))

    def _masks(self, picture: UInt8[np.ndarray, "height width 3"]) -> list[Float32[np.ndarray, "height width"]]:
        with quiet():
            found = self._segmenter.segment(self._image(np.ascontiguousarray(picture))).confidence_masks
            return [np.array(mask.numpy_view(), np.float32).reshape(picture.shape[:2]) for mask in found]
