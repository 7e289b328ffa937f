"""The face mesh by a MediaPipe Tasks bundle (`face_landmarker.task`), which users of newer MediaPipe releases have."""

from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import UInt8

from r2talker.errors import R2TalkerError
from r2talker.face.detector import Face
from r2talker.face.graphs import load_solutions, muted, quiet
from r2talker.face.topology import MESH_POINTS

_PATTERN = "*face_landmarker*.task"
_MILLISECONDS = 40


def find_landmarker(folder: Path) -> Path | None:
    """The face landmarker bundle in a folder of models, or None."""
    return next(iter(sorted(folder.glob(_PATTERN))), None)


class BundleDetector:
    """Like `face.detector.FaceDetector`, with the networks of a bundle; a context manager.

    tracking: pictures come in the order of time, 25 per second. Raises R2TalkerError for a file that is no such bundle.
    """

    def __init__(self, bundle: Path, *, tracking: bool = False, most_faces: int = 1) -> None:
        load_solutions()
        with quiet():
            from mediapipe import Image, ImageFormat
            from mediapipe.tasks.python import BaseOptions, vision
        self._image: Any = lambda picture: Image(image_format=ImageFormat.SRGB, data=picture)
        mode = vision.RunningMode.VIDEO if tracking else vision.RunningMode.IMAGE
        try:
            options = vision.FaceLandmarkerOptions(
                base_options=BaseOptions(model_asset_buffer=bundle.read_bytes()), running_mode=mode, num_faces=most_faces
            )
            with muted():
                self._landmarker: Any = vision.FaceLandmarker.create_from_options(options)
                # The first pictures bring the last of the start-up notes.
                self._tracking, self._shown = tracking, 0
                self.detect(np.full((64, 64, 3), 128, np.uint8))
        except OSError as error:
            raise R2TalkerError(f"cannot read {bundle}: {error.strerror or error}; check the path") from error
        except (RuntimeError, ValueError) as error:
            raise R2TalkerError(
                f"{bundle} is not a face landmarker bundle of MediaPipe; fetch face_landmarker.task again"
            ) from error

    def __enter__(self) -> "BundleDetector":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._landmarker.close()

    def detect(self, picture: UInt8[np.ndarray, "height width 3"]) -> Face | None:
        """The largest face of an RGB picture, or None."""
        height, width = picture.shape[:2]
        image = self._image(np.ascontiguousarray(picture))
        with quiet():
            if self._tracking:
                found = self._landmarker.detect_for_video(image, self._shown * _MILLISECONDS).face_landmarks
                self._shown += 1
            else:
                found = self._landmarker.detect(image).face_landmarks
        if not found:
            return None
        meshes = np.array([[(point.x, point.y, point.z) for point in face[:MESH_POINTS]] for face in found], dtype=np.float32)
        meshes *= np.array([width, height, width], np.float32)
        extent = np.ptp(meshes[..., :2], axis=1).prod(-1)
        return Face(mesh=meshes[extent.argmax()], faces_found=len(meshes))
