"""Step `masks`: which pixels show the person, softly, and the split into head, neck and torso."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from r2talker.face.topology import FACE_OVAL
from r2talker.files import write_bytes
from r2talker.ingest.camera import measure_drift, refuse_moving_camera
from r2talker.ingest.config import REFERENCE_SIZE
from r2talker.ingest.indexed import encode_indexed, encode_levels
from r2talker.ingest.landmarks import read_mesh
from r2talker.ingest.matte import refine_border
from r2talker.ingest.networks.models import open_segmenter
from r2talker.ingest.parsing import COLOURS_BGR, TORSO, PersonColours, fill_polygon, find_parts, learn_person, parse_picture
from r2talker.ingest.pictures import map_ordered, prepare_folder, read_clip, read_gray
from r2talker.ingest.plate import measure_distance, merge_looks
from r2talker.ingest.step import Step, StepResult, Workspace

_LOOKS = 24
# Weights of a picture's neighbours in its mask; the net trembles by a few pixels.
_NEIGHBOURS = (0.25, 0.5, 0.25)
# Kept in steps of 1/15, so that the many masks stay small.
_LEVELS = 15


# A parsing picture read as grey: the region whose colour has the nearest grey.
_GREYS = cv2.cvtColor(COLOURS_BGR[None], cv2.COLOR_BGR2GRAY)[0].astype(int)
_REGION_OF_GREY = np.abs(np.arange(256)[:, None] - _GREYS).argmin(1).astype(np.uint8)


@dataclass(frozen=True)
class _Learned:
    """colours: of the person. plate, seen: the room, and where it was seen. drift: of the camera, pixels at 512."""

    colours: PersonColours
    plate: UInt8[np.ndarray, "size size 3"]
    seen: Bool[np.ndarray, "size size"]
    drift: float | None


def make_masks(workspace: Workspace) -> StepResult:
    """Write `parsing/<i>.png` and the soft person masks; readings: the mean share of each region, and camera_drift_px.

    A resumed step leaves the masks that are there. Raises R2TalkerError for a moving camera.
    """
    size = workspace.config.size
    meshes = read_mesh(workspace)
    prepare_folder(workspace.folder.parsing(0).parent, keep=workspace.resumed)
    prepare_folder(alpha_path(workspace, 0).parent, keep=workspace.resumed)
    workspace.progress.begin("masks", len(meshes))
    learned = _learn(workspace, meshes)
    refuse_moving_camera(learned.drift, workspace.video)

    def finish(item: tuple[int, np.ndarray, np.ndarray | None]) -> np.ndarray:
        index, rgb, rough = item
        if rough is None:
            return _shares(read_regions(workspace.folder.parsing(index)))
        alpha = refine_border(rgb, refine_mask(rgb, rough, meshes[index]), learned.plate, learned.seen)
        label = parse_picture(rgb, alpha > 0.5, meshes[index], learned.colours)
        write_regions(workspace.folder.parsing(index), label)
        write_bytes(alpha_path(workspace, index), encode_levels(np.round(alpha * _LEVELS).astype(np.uint8)))
        return _shares(label)

    share = np.zeros(TORSO + 1)
    for done, part in enumerate(map_ordered(finish, _smooth_masks(workspace, _find_missing(workspace)))):
        share += part
        workspace.progress.advance(done + 1)
    share /= len(meshes)
    names = ("background", "head", "neck", "torso")
    readings: dict[str, float | None] = {
        f"{name}_share": round(float(value), 4) for name, value in zip(names, share, strict=True)
    }
    readings["camera_drift_px"] = None if learned.drift is None else round(learned.drift, 3)
    text = ", ".join(f"{name} {value:.0%}" for name, value in zip(names, share, strict=True))
    return StepResult(f"masks of {len(meshes)} pictures of {size} x {size}: {text}", readings)


def alpha_path(workspace: Workspace, index: int) -> Path:
    """Soft person mask of one picture."""
    return workspace.product(f"alpha/{index}.png")


def read_alpha(workspace: Workspace, index: int) -> Float32[np.ndarray, "size size"]:
    """How far each pixel shows the person, 0 to 1."""
    return read_gray(alpha_path(workspace, index)).astype(np.float32) / 255


def write_regions(path: Path, label: UInt8[np.ndarray, "size size"]) -> None:
    """Write a parsing picture of region numbers."""
    write_bytes(path, encode_indexed(label, COLOURS_BGR[:, ::-1]))


def read_regions(path: Path) -> UInt8[np.ndarray, "size size"]:
    """Region numbers of a parsing picture."""
    return cv2.LUT(read_gray(path), _REGION_OF_GREY)


def refine_mask(
    rgb: UInt8[np.ndarray, "size size 3"], rough: Float32[np.ndarray, "size size"], mesh: Float[np.ndarray, "478 3"]
) -> Float32[np.ndarray, "size size"]:
    """Fit the net's mask to the edges of the picture (guided filter, He et al. 2010; its coefficients at half the size, He and
    Sun 2015) and keep the one person with the face."""
    size = len(rgb)
    guide = rgb.astype(np.float32)
    guide *= 1 / 255
    radius = max(2, round(size / 64))
    # The radius counts pixels of the half-sized picture.
    fine = cv2.ximgproc.guidedFilter(guide, rough, radius // 2, 1e-3, scale=0.5)
    alpha = np.clip((fine - 0.2) * np.float32(1 / 0.6), 0, 1)
    face = fill_polygon(mesh[list(FACE_OVAL), :2], size)
    solid = ((alpha > 0.5) | face).view(np.uint8)
    _, parts = cv2.connectedComponents(solid, connectivity=4)
    inside = np.bincount(parts[face], minlength=2)
    person = parts == int(inside[1:].argmax()) + 1 if inside[1:].any() else solid > 0
    filled = person | _holes(person)
    near = cv2.dilate(filled.view(np.uint8), np.ones((2 * radius + 1,) * 2, np.uint8))
    alpha *= near
    alpha[filled & ~person | face] = 1
    return alpha


def _holes(person: Bool[np.ndarray, "size size"]) -> Bool[np.ndarray, "size size"]:
    """Background that the person encloses and that is too small to be seen through (under 1/400 of the picture)."""
    parts, areas = find_parts(~person)
    return ((areas > 0) & (areas < person.size / 400))[parts]


def _shares(label: UInt8[np.ndarray, "size size"]) -> Float[np.ndarray, " regions"]:
    return np.bincount(label.reshape(-1), minlength=TORSO + 1) / label.size


def _find_missing(workspace: Workspace) -> Bool[np.ndarray, " frames"]:
    """Which pictures have no masks yet."""
    there = [
        workspace.folder.parsing(index).exists() and alpha_path(workspace, index).exists() for index in range(workspace.frames)
    ]
    return ~np.array(there)


def _smooth_masks(
    workspace: Workspace, missing: Bool[np.ndarray, " frames"]
) -> Iterator[tuple[int, np.ndarray, np.ndarray | None]]:
    """Number, picture and mask of every picture, each mask averaged with its two neighbours; None for what is not missing."""
    needed = np.convolve(missing, np.ones(3), "same") > 0
    crop = tuple(workspace.readings("frames")["crop"])
    before: np.ndarray | None = None
    held: tuple[int, np.ndarray, np.ndarray | None] | None = None
    with open_segmenter(workspace.config.model_dir) as segmenter:
        for index, rgb in enumerate(read_clip(workspace, crop, workspace.config.size)):
            mask = segmenter.segment(rgb) if needed[index] else None
            if held is not None:
                yield held[0], held[1], _mix(before, held[2], mask) if missing[held[0]] else None
                before = held[2]
            held = (index, rgb, mask)
    if held is not None:
        yield held[0], held[1], _mix(before, held[2], None) if missing[held[0]] else None


def _mix(before: np.ndarray | None, now: np.ndarray | None, after: np.ndarray | None) -> np.ndarray | None:
    if now is None:
        return None
    left, middle, right = _NEIGHBOURS
    return (now if before is None else before) * left + now * middle + (now if after is None else after) * right


def _learn(workspace: Workspace, meshes: np.ndarray) -> _Learned:
    """What pictures spread over the clip tell."""
    wanted = np.linspace(0, len(meshes) - 1, _LOOKS).astype(int).tolist()
    crop = tuple(workspace.readings("frames")["crop"])
    looks = []
    with open_segmenter(workspace.config.model_dir) as segmenter:
        for index, rgb in zip(wanted, read_clip(workspace, crop, workspace.config.size, wanted), strict=True):
            looks.append((rgb, refine_mask(rgb, segmenter.segment(rgb), meshes[index]), meshes[index]))
    pictures, empty = np.stack([rgb for rgb, _, _ in looks]), np.stack([alpha < 0.05 for _, alpha, _ in looks])
    plate, seen = merge_looks(pictures, np.stack([measure_distance(look, REFERENCE_SIZE) for look in empty]))
    colours = learn_person([(rgb, alpha > 0.5, mesh) for rgb, alpha, mesh in looks])
    return _Learned(colours, plate, seen, measure_drift(pictures, empty))


def _made(workspace: Workspace) -> list[Path]:
    frames = range(workspace.frames)
    return [*(workspace.folder.parsing(i) for i in frames), *(alpha_path(workspace, i) for i in frames)]


STEP = Step("masks", 4, ("frames", "landmarks"), ("size", "seconds"), make_masks, _made)
