"""Names and description of a dataset folder (docs/dataset-format.md; upstream.md section 1).

Imports neither torch nor OpenCV, so that every room can name files cheaply.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from r2talker.errors import R2TalkerError
from r2talker.files import read_json, write_json

FORMAT = "r2talker-dataset"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Source:
    """The clip that a dataset was made from."""

    file: str
    width: int
    height: int
    fps: float
    seconds: float
    has_sound: bool


@dataclass(frozen=True)
class Statistics:
    """Statistics of the training split; landmark arrays are [68, 3] nested lists in the units of `aud_idexp_*.npy`."""

    landmark_mean: list[list[float]]
    landmark_std: list[list[float]]
    landmark_min: list[list[float]]
    landmark_max: list[list[float]]
    eye_mean: float
    eye_min: float
    eye_max: float


@dataclass(frozen=True)
class Feature:
    """One kind of audio feature: `file` holds float32 [frames, 16, width], rows at `rate` Hz."""

    file: str
    rate: float
    width: int


@dataclass(frozen=True)
class DatasetInfo:
    """What `dataset.json` says; it is written last, so a folder that has it is complete.

    focal: pixels at `size`. landmark_base: [68, 3] rest positions in the head frame (metres; x right in the picture, y up, z to
    the front); the position of landmark k in frame t is landmark_base[k] + displacement[t, k] / landmark_scale.
    tracking: quality readings such as reprojection_px and jitter_deg. settings: the ingest settings as given.
    excluded: frames that stay in the numbering but whose content is not to be used.
    """

    created_by: str
    source: Source
    size: int
    frames: int
    train_frames: int
    focal: float
    landmark_scale: float
    landmark_base: list[list[float]]
    statistics: Statistics
    features: dict[str, Feature]
    tracking: dict[str, float] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    fps: float = 25.0
    excluded: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class DatasetFolder:
    """Paths inside a dataset folder; frame numbers count from 0 and are not padded."""

    root: Path

    @property
    def info(self) -> Path:
        return self.root / "dataset.json"

    def frame(self, index: int) -> Path:
        """Extracted picture."""
        return self.root / "ori_imgs" / f"{index}.jpg"

    def landmarks(self, index: int) -> Path:
        """68 lines of `x y`, pixels."""
        return self.root / "ori_imgs" / f"{index}.lms"

    def parsing(self, index: int) -> Path:
        """Head, neck, torso and background in the colours of upstream.md 1.2."""
        return self.root / "parsing" / f"{index}.png"

    def ground_truth(self, index: int) -> Path:
        """The picture over the clean background."""
        return self.root / "gt_imgs" / f"{index}.jpg"

    def torso(self, index: int) -> Path:
        """Torso and inpainted neck with alpha: `.png` where it exists, else the compact `.webp`."""
        png = self.root / "torso_imgs" / f"{index}.png"
        return png if png.exists() else png.with_suffix(".webp")

    @property
    def eyes(self) -> Path:
        """float32 [frames, 2, 3]: of the left and the right eye, gaze across, gaze up, opening, in widths of the eye."""
        return self.root / "eyes.npy"

    @property
    def background(self) -> Path:
        return self.root / "bc.jpg"

    @property
    def audio(self) -> Path:
        """16 kHz mono PCM."""
        return self.root / "aud.wav"

    def landmark_offsets(self, split: str = "") -> Path:
        """float32 [frames, 68, 3]: `train`, `val`, or all frames in order."""
        return self.root / (f"aud_idexp_{split}.npy" if split else "aud_idexp.npy")

    def transforms(self, split: str) -> Path:
        """Intrinsics and poses of `train` or `val`."""
        return self.root / f"transforms_{split}.json"


def write_info(folder: DatasetFolder, info: DatasetInfo) -> None:
    """Write `dataset.json`."""
    write_json(folder.info, {"format": FORMAT, "version": FORMAT_VERSION, **asdict(info)})


def read_info(folder: DatasetFolder) -> DatasetInfo:
    """Read `dataset.json`; R2TalkerError when the folder is unfinished, of another kind, or of another version."""
    if not folder.info.exists():
        raise R2TalkerError(
            f"{folder.root} is not a finished dataset (no dataset.json); run `r2talker ingest VIDEO {folder.root}`"
        )
    value = read_json(folder.info)
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise R2TalkerError(f"{folder.info} does not describe an r2talker dataset; ingest the clip again")
    if value.get("version") != FORMAT_VERSION:
        raise R2TalkerError(
            f"{folder.root} has dataset version {value.get('version')}, this r2talker reads version {FORMAT_VERSION}; ingest the clip again"
        )
    try:
        content = {key: item for key, item in value.items() if key not in ("format", "version")}
        content["source"] = Source(**content["source"])
        content["statistics"] = Statistics(**content["statistics"])
        content["features"] = {name: Feature(**item) for name, item in content["features"].items()}
        return DatasetInfo(**content)
    except (KeyError, TypeError, AttributeError) as error:
        raise R2TalkerError(f"{folder.info} is incomplete ({error}); ingest the clip again") from error
