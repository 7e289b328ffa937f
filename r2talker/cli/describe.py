"""What the command line says about a dataset or an avatar."""

from pathlib import Path

from r2talker.avatar_format import AvatarFolder, AvatarInfo
from r2talker.data.folder import DatasetInfo
from r2talker.progress import Progress


def describe_dataset(path: Path, info: DatasetInfo) -> str:
    """A few lines about a dataset."""
    source = info.source
    sound = "with sound" if source.has_sound else "without sound (no landmark generator can be trained)"
    lines = [
        f"{path}: {info.frames} frames of {info.size} x {info.size} at {info.fps:g} fps, {info.train_frames} to train, "
        f"{info.frames - info.train_frames} held out, {folder_megabytes(path):.1f} MB",
        f"  from {source.file}: {source.width} x {source.height}, {source.fps:.2f} fps, {source.seconds:.1f} s, {sound}",
        f"  focal length {info.focal:g} px; audio features {', '.join(f'{n} ({f.width})' for n, f in info.features.items()) or 'none'}",
    ]
    if info.tracking:
        lines.append("  tracking: " + ", ".join(f"{name} {value:.3g}" for name, value in info.tracking.items()))
    return "\n".join(lines)


def describe_avatar(path: Path, info: AvatarInfo) -> str:
    """A few lines about an avatar."""
    folder = AvatarFolder(path)
    clip = info.provenance.get("clip", {})
    drive = "sound through its landmark generator, or landmarks" if info.motion is not None else "landmarks"
    if info.feature:
        drive = f"sound through {info.feature} features" if info.feature == "mel" else f"{info.feature} features from files"
    grid = info.model.head.position_grid
    return "\n".join(
        [
            f"{path}: {info.method} avatar of {info.size} x {info.size}, made by {info.created_by}",
            f"  driven by {drive}; torso {'included' if info.model.torso is not None else 'not included'}",
            f"  position grid {grid.kind}, {grid.levels} levels of {grid.base} to {grid.finest} cells, {grid.channels} channels",
            f"  weights {folder.weights.stat().st_size / 1e6:.1f} MB; from {clip.get('file', 'an unknown clip')}",
        ]
    )


def describe_scores(avatar: Path, dataset: Path, device: str, progress: Progress) -> str:
    """What a finished avatar reaches on held-out frames, or why that cannot be said: it is finished all the same."""
    from r2talker.evaluate.held_out import NothingHeldOutError, evaluate_avatar

    try:
        return evaluate_avatar(avatar, dataset, progress=progress, device=device).summary()
    except NothingHeldOutError as error:
        return f"not evaluated: {error}"


def folder_megabytes(path: Path) -> float:
    """Size of all files of a folder."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / 1e6
