"""Hands in pictures, which hide what an avatar is to learn."""

from types import TracebackType

import numpy as np
from jaxtyping import Float32, UInt8

from r2talker.face.graphs import load_solutions, quiet, start_graph


class HandFinder:
    """MediaPipe hands; a context manager. Each picture stands alone."""

    def __init__(self) -> None:
        make = load_solutions().hands.Hands
        self._graph = start_graph(
            lambda: make(static_image_mode=True, max_num_hands=2, model_complexity=0, min_detection_confidence=0.6)
        )

    def __enter__(self) -> "HandFinder":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._graph.close()

    def find(self, picture: UInt8[np.ndarray, "height width 3"]) -> Float32[np.ndarray, "hands 21 2"]:
        """Joints (column, row) of the hands in an RGB picture, pixels."""
        height, width = picture.shape[:2]
        with quiet():
            found = self._graph.process(np.ascontiguousarray(picture)).multi_hand_landmarks or []
        joints = np.array([[(point.x, point.y) for point in hand.landmark] for hand in found], dtype=np.float32)
        return joints.reshape(-1, 21, 2) * np.array([width, height], np.float32)
