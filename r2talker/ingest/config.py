"""Settings of ingest; light to import, so that `--help` is quick."""

from dataclasses import dataclass

from r2talker.ingest.exclusion import parse_exclusion
from r2talker.settings import require_at_least

REFERENCE_SIZE = 512
REFERENCE_FOCAL = 1200.0


@dataclass(frozen=True)
class IngestConfig:
    """How a clip becomes a dataset."""

    size: int = 512
    """Side of the square pictures, pixels."""
    focal: float | None = None
    """Focal length in pixels at `size`; None = 1200/512 of `size`. A talking-head clip does not reveal it."""
    seconds: float | None = None
    """Use only the first so many seconds of the clip; None = all."""
    torso_png: bool = False
    """Write torso pictures as lossless PNG, which the original tools read, instead of WebP of a tenth of the size."""
    feature_width: int = 64
    """Bands of the log-mel audio features."""

    model_dir: str | None = None
    """Folder with networks of your own: 79999_iter.pth (BiSeNet) tells head, neck and torso apart, face_landmarker.task (MediaPipe Tasks)
    finds the face's points, selfie_multiclass, selfie_segmenter or hair_segmenter (.tflite or .task, MediaPipe Tasks) the person."""
    fix_sync: bool = False
    """Shift the sound by the lag that the report shows, where it is a whole picture or more."""
    exclude: str | None = None
    """Pictures to keep out of training, beside those excluded before: numbers and ranges such as 120-140,300; `worst` for those that
    the report blames; `none` to take back all."""

    def __post_init__(self) -> None:
        require_at_least(self, size=16, focal=1, feature_width=1)
        parse_exclusion(self.exclude or "")

    @property
    def focal_pixels(self) -> float:
        """The focal length that holds, pixels at `size`."""
        return self.focal if self.focal is not None else REFERENCE_FOCAL / REFERENCE_SIZE * self.size
