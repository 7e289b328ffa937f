"""Which pixels show the person, by MediaPipe selfie segmentation."""

from types import TracebackType

import numpy as np
from jaxtyping import Float32, UInt8

from r2talker.face.graphs import load_solutions, quiet, start_graph


class PersonSegmenter:
    """A context manager; each picture stands alone. Edges are good to 3-5 pixels of 512: refine them against the picture."""

    def __init__(self) -> None:
        make = load_solutions().selfie_segmentation.SelfieSegmentation
        self._graph = start_graph(lambda: make(model_selection=0))

    def __enter__(self) -> "PersonSegmenter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._graph.close()

    def segment(self, picture: UInt8[np.ndarray, "height width 3"]) -> Float32[np.ndarray, "height width"]:
        """Probability in [0, 1] that a pixel of an RGB picture shows the person."""
        with quiet():
            mask = self._graph.process(np.ascontiguousarray(picture)).segmentation_mask
        return np.array(mask, dtype=np.float32)
