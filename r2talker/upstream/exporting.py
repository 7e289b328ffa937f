"""An avatar becomes a checkpoint that the reference loads (upstream.md 4.6 and 6.5)."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from r2talker.avatar import Avatar
from r2talker.avatar_format import AvatarFolder
from r2talker.errors import R2TalkerError
from r2talker.model.grid import Grid
from r2talker.model.talking_head import TalkingHead
from r2talker.model.torso import TorsoConfig
from r2talker.ops.grid_encode.layout import GridLayout
from r2talker.upstream.checkpoint import Checkpoint, write_checkpoint
from r2talker.upstream.record import read_record, restore
from r2talker.upstream.tensors import to_upstream

CODES = 10000
"""Rows of the reference's tables of individual codes."""
HEARD_WIDTHS = (29, 32, 44)
"""Columns of audio features that the reference can be told to expect (upstream.md 4.1)."""


@dataclass(frozen=True)
class ExportReport:
    """exact: whether the file is the imported checkpoint again; else it was made of an avatar of our own. torso: whether it has one."""

    exact: bool
    torso: bool


def export_checkpoint(avatar: Path, path: Path, *, head_only: bool = False) -> ExportReport:
    """Write an avatar's checkpoint; an imported one gives its own back, bit for bit.

    head_only: leave the torso out, of an avatar of our own. R2TalkerError names what the reference's networks cannot hold.
    """
    folder, loaded = AvatarFolder(avatar), Avatar.load(avatar, device="cpu")
    token = loaded.info.provenance.get("upstream", {}).get("record")
    if token is not None and folder.upstream.exists() and not head_only:
        record = read_record(folder.upstream)
        if record.token == token:
            write_checkpoint(path, restore(record, to_upstream(loaded.model, loaded.info.render.aabb)))
            return ExportReport(exact=True, torso=loaded.model.torso is not None)
    model = loaded.model
    if head_only:
        model = _without_torso(model)
    reasons = _reasons(model)
    if reasons:
        raise R2TalkerError(f"{avatar} cannot become a checkpoint of the reference: {'; '.join(reasons)}")
    tensors = to_upstream(model, loaded.info.render.aabb)
    for key in ("individual_codes", "individual_codes_torso"):
        if key in tensors:
            tensors[key] = _padded(tensors[key])
    write_checkpoint(path, Checkpoint(tensors, _numbers(model), _empty_stats()))
    return ExportReport(exact=False, torso=model.torso is not None)


def _without_torso(model: TalkingHead) -> TalkingHead:
    bare = TalkingHead(replace(model.config, torso=None), model.method)
    bare.load_state_dict({key: value for key, value in model.state_dict().items() if not key.startswith("torso.")})
    return bare


def _reasons(model: TalkingHead) -> list[str]:
    """What the reference's networks cannot hold."""
    config, method = model.config, model.method
    wanted: dict[str, GridLayout] = {"head.position_grid": method.position_grid, "torso.grid": TorsoConfig().grid}
    reasons = []
    for name, module in model.named_modules():
        if isinstance(module, Grid):
            layout, reference = module.layout, wanted.get(name, method.condition_grid)
            if layout != reference:
                reasons.append(f"{name} has {_spell(layout)} where the reference has {_spell(reference)}")
    if method.drive.kind == "audio" and config.feature_width not in HEARD_WIDTHS:
        known = ", ".join(map(str, HEARD_WIDTHS))
        reasons.append(f"it hears features of {config.feature_width} columns, the reference ones of {known}")
    for name, rows in (("head", config.head.codes), ("torso", config.torso.codes if config.torso else 0)):
        if rows > CODES:
            reasons.append(f"its {name} has {rows} individual codes, the reference {CODES}")
    if config.torso is not None and config.torso.follow is not None:
        reasons.append("torso.follow: its torso is looked up beside the neck, the reference's beside the picture's middle")
    if reasons and all(reason.startswith("torso.") for reason in reasons):
        reasons.append("--head-only leaves the torso out")
    return reasons


def _spell(layout: GridLayout) -> str:
    order = f" in the order {layout.axes}" if layout.axes else ""
    return f"{layout.levels} {layout.kind} levels of {layout.base} to {layout.finest} cells{order}"


def _padded(codes: Tensor) -> Tensor:
    """Zeros after the trained rows: pictures take row 0, training a row per picture."""
    return torch.cat([codes, codes.new_zeros(CODES - len(codes), codes.shape[1])])


def _numbers(model: TalkingHead) -> dict[str, float | int]:
    occupancy, torso = model.occupancy, model.torso_occupancy
    mean = float(occupancy.density.clamp(min=0).mean())
    return {"epoch": 0, "global_step": 0, "mean_count": 0, "mean_density": mean, "mean_density_torso": float(torso.mean)}


def _empty_stats() -> dict[str, object]:
    return {"loss": [], "valid_loss": [], "results": [], "checkpoints": [], "best_result": None}
