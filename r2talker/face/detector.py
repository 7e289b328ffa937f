"""Faces in pictures: where they are (`FaceFinder`) and their 478-point mesh (`FaceDetector`)."""

from dataclasses import dataclass
from types import TracebackType

import numpy as np
from jaxtyping import Float32, UInt8

from r2talker.face.graphs import load_solutions, quiet, start_graph
from r2talker.face.topology import MESH_POINTS


@dataclass(frozen=True)
class Face:
    """The largest face of a picture: mesh vertices as (column, row, depth), pixels; depth grows away from the camera, is zero
    near the middle of the head and comes in about the unit of the columns. faces_found: how many faces were seen."""

    mesh: Float32[np.ndarray, "478 3"]
    faces_found: int


class FaceDetector:
    """MediaPipe FaceMesh with irises; a context manager.

    tracking: pictures come in the order of time and each is searched near the last face, with a new search where it is lost;
    otherwise each picture stands alone. most_faces: how many faces are looked for (1 is fastest when tracking).
    """

    def __init__(self, *, tracking: bool = False, most_faces: int = 1) -> None:
        make = load_solutions().face_mesh.FaceMesh
        self._graph = start_graph(lambda: make(static_image_mode=not tracking, max_num_faces=most_faces, refine_landmarks=True))

    def __enter__(self) -> "FaceDetector":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._graph.close()

    def detect(self, picture: UInt8[np.ndarray, "height width 3"]) -> Face | None:
        """The largest face of an RGB picture, or None."""
        height, width = picture.shape[:2]
        with quiet():
            found = self._graph.process(np.ascontiguousarray(picture)).multi_face_landmarks
        if not found:
            return None
        meshes = np.array(
            [[(point.x, point.y, point.z) for point in face.landmark[:MESH_POINTS]] for face in found], dtype=np.float32
        )
        meshes *= np.array([width, height, width], np.float32)
        extent = np.ptp(meshes[..., :2], axis=1).prod(-1)
        return Face(mesh=meshes[extent.argmax()], faces_found=len(meshes))


class FaceFinder:
    """MediaPipe face detection to about 5 m; a context manager. Each picture stands alone."""

    def __init__(self) -> None:
        make = load_solutions().face_detection.FaceDetection
        self._graph = start_graph(lambda: make(model_selection=1, min_detection_confidence=0.5))

    def __enter__(self) -> "FaceFinder":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._graph.close()

    def find(self, picture: UInt8[np.ndarray, "height width 3"]) -> Float32[np.ndarray, "faces 4"]:
        """Boxes (left, top, width, height) in pixels around brows to chin, the largest first."""
        height, width = picture.shape[:2]
        with quiet():
            found = self._graph.process(np.ascontiguousarray(picture)).detections or []
        boxes = [item.location_data.relative_bounding_box for item in found]
        rows = np.array([(box.xmin, box.ymin, box.width, box.height) for box in boxes], dtype=np.float32).reshape(-1, 4)
        rows *= np.array([width, height, width, height], np.float32)
        return rows[np.argsort(-rows[:, 2] * rows[:, 3])]
