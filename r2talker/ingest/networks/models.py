"""What the folder that the user gives with `--model-dir` holds."""

from dataclasses import dataclass
from pathlib import Path

from r2talker.errors import R2TalkerError
from r2talker.face.bisenet import FILE
from r2talker.face.bundle_segmenter import BundleSegmenter, SegmenterFile, find_segmenter
from r2talker.face.detector import FaceDetector
from r2talker.face.segmenter import PersonSegmenter
from r2talker.face.tasks import BundleDetector, find_landmarker


@dataclass(frozen=True)
class Models:
    """parser: weights of BiSeNet. landmarker, segmenter: MediaPipe Tasks models. None where the package's own means serve."""

    parser: Path | None = None
    landmarker: Path | None = None
    segmenter: SegmenterFile | None = None


def find_models(folder: str | None) -> Models:
    """Look into the folder of models; R2TalkerError when it does not exist or holds nothing that is known."""
    if folder is None:
        return Models()
    root = Path(folder)
    if not root.is_dir():
        raise R2TalkerError(f"--model-dir {root} is not a folder; give the one that holds {FILE} or face_landmarker.task")
    parser, landmarker, segmenter = root / FILE, find_landmarker(root), find_segmenter(root)
    if not parser.exists() and landmarker is None and segmenter is None:
        raise R2TalkerError(
            f"--model-dir {root} holds neither {FILE} nor face_landmarker.task nor a segmentation model (selfie_multiclass, "
            "selfie_segmenter, hair_segmenter); put one there, or leave the option out"
        )
    return Models(parser if parser.exists() else None, landmarker, segmenter)


def open_detector(folder: str | None, *, tracking: bool = False) -> FaceDetector | BundleDetector:
    """The face mesh by the user's bundle, or by the package's own network."""
    bundle = find_models(folder).landmarker
    return FaceDetector(tracking=tracking) if bundle is None else BundleDetector(bundle, tracking=tracking)


def open_segmenter(folder: str | None) -> PersonSegmenter | BundleSegmenter:
    """The person's mask by the user's model, or by the package's own network."""
    file = find_models(folder).segmenter
    return PersonSegmenter() if file is None else BundleSegmenter(file)
