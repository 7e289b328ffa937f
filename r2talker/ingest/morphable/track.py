"""Tracks the head of a dataset with the face model and writes what AD-NeRF's tools would have written."""

from collections.abc import Sequence
from pathlib import Path

from jaxtyping import UInt8
from torch import Tensor

from r2talker.data.dataset import Dataset, read_dataset, read_pictures
from r2talker.data.folder import DatasetFolder
from r2talker.data.track_params import FILE, TrackParams, write_track_params
from r2talker.device import choose_device
from r2talker.files import write_json
from r2talker.ingest.morphable.config import MorphableConfig
from r2talker.ingest.morphable.fit import fit_face
from r2talker.ingest.morphable.model import read_morphable
from r2talker.progress import Progress


def track_dataset(root: Path, model: Path, output: Path, config: MorphableConfig, progress: Progress) -> TrackParams:
    """Write `track_params.pt`, `transforms_train.json` and `transforms_val.json` of the dataset `root` into `output`."""
    device = choose_device("auto")
    dataset, face = read_dataset(root), read_morphable(model).to(device)

    def pictures(frames: Sequence[int]) -> UInt8[Tensor, "frames size size 3"]:
        return read_pictures(dataset, frames, size=config.render_size).truth

    params = fit_face(face, dataset.pixels, dataset.info.size, config, pictures, progress)
    write_track_params(output / FILE, params)
    for split, frames in (("train", dataset.train), ("val", dataset.held_out)):
        write_json(DatasetFolder(output).transforms(split), transforms_json(dataset, params, frames))
    return params


def transforms_json(dataset: Dataset, params: TrackParams, frames: range) -> dict[str, object]:
    """One split's intrinsics and poses (upstream.md 1.3 and 1.4)."""
    matrices, size = params.transforms(), dataset.info.size
    return {
        "focal_len": params.focal,
        "cx": size / 2,
        "cy": size / 2,
        "h": size,
        "w": size,
        "frames": [
            {"img_id": frame, "aud_id": frame, "transform_matrix": matrices[frame].round(8).tolist()} for frame in frames
        ],
    }
