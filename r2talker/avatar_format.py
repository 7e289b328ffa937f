"""The avatar folder: `avatar.json`, `weights.safetensors`, `background.png` (docs/avatar-format.md)."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from r2talker.compatibility import OURS, Compatibility, WindowEdge
from r2talker.data.folder import Statistics
from r2talker.drive.config import MotionConfig
from r2talker.errors import R2TalkerError
from r2talker.files import read_json, write_json, write_tensors
from r2talker.model.head import HeadConfig
from r2talker.model.talking_head import ModelConfig
from r2talker.model.torso import TorsoConfig
from r2talker.ops.grid_encode.layout import GridLayout
from r2talker.ops.render_torso.follow import Follow
from r2talker.render.config import RenderSettings

FORMAT = "r2talker-avatar"
FORMAT_VERSION = 1
_RULES: dict[str, tuple[tuple[str, ...], str]] = {
    "film": (("model",), "film"),
    "index": (("model", "head", "position_grid"), "kind"),
    "axes": (("model", "head", "position_grid"), "axes"),
    "window_edge": ((), "window_edge"),
    "step": (("render",), "step"),
    "budget": (("render",), "budget"),
}
"""Where each rule of `Compatibility` is kept in memory."""


@dataclass(frozen=True)
class AvatarInfo:
    """What `avatar.json` says.

    size: side of the training pictures, pixels. focal: pixels at that size. feature: name of the audio feature that drives the
    method, or empty. landmark_scale, landmark_base, statistics: see the dataset's description. window_edge: see `Compatibility`.
    provenance: clip, dataset and training settings.
    """

    created_by: str
    method: str
    size: int
    focal: float
    model: ModelConfig
    render: RenderSettings
    landmark_scale: float
    landmark_base: list[list[float]]
    statistics: Statistics
    motion: MotionConfig | None = None
    feature: str = ""
    window_edge: WindowEdge = "replicate"
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def own_rules(self) -> bool:
        """Whether it was trained by our own rules (`--rules own`) and not by the reference's."""
        return self.window_edge == OURS.window_edge

    @property
    def compatibility(self) -> Compatibility:
        """The rules that this avatar follows, gathered from where each is asked for."""
        return Compatibility(
            film=self.model.film,
            index=self.model.head.position_grid.kind,
            axes=self.model.head.position_grid.axes,
            window_edge=self.window_edge,
            step=self.render.step,
            budget=self.render.budget,
        )


@dataclass(frozen=True)
class AvatarFolder:
    """Paths inside an avatar folder."""

    root: Path

    @property
    def info(self) -> Path:
        return self.root / "avatar.json"

    @property
    def weights(self) -> Path:
        return self.root / "weights.safetensors"

    @property
    def background(self) -> Path:
        return self.root / "background.png"

    @property
    def upstream(self) -> Path:
        """What an imported avatar keeps for its way back (`r2talker.upstream.record`); not needed to use the avatar."""
        return self.root / "upstream.safetensors"

    @property
    def training(self) -> Path:
        """Checkpoint, previews and logs of the training run; not needed to use the avatar."""
        return self.root / "training"


def write_avatar_info(folder: AvatarFolder, info: AvatarInfo) -> None:
    """Write `avatar.json`; it is written last, so a folder that has it is complete."""
    content = {"format": FORMAT, "version": FORMAT_VERSION, **asdict(info), "compatibility": asdict(info.compatibility)}
    # The rules stand in the file once, under `compatibility`.
    for part, rule in _RULES.values():
        holder = content
        for name in part:
            holder = holder[name]
        del holder[rule]
    write_json(folder.info, content)


def read_avatar_info(folder: AvatarFolder) -> AvatarInfo:
    """Read `avatar.json`; R2TalkerError when the folder is unfinished, of another kind, or of another version."""
    if not folder.info.exists():
        raise R2TalkerError(
            f"{folder.root} is not a finished avatar (no avatar.json); train one with `r2talker create VIDEO {folder.root}`"
        )
    value = read_json(folder.info)
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise R2TalkerError(f"{folder.info} does not describe an r2talker avatar; train it again")
    if value.get("version") != FORMAT_VERSION:
        raise R2TalkerError(
            f"{folder.root} has avatar version {value.get('version')}, this r2talker reads version {FORMAT_VERSION}; train it again"
        )
    try:
        # Older avatars have `scores`, which were never filled.
        content = {key: item for key, item in value.items() if key not in ("format", "version", "scores")}
        _distribute_rules(content)
        content["model"] = _model_config(content["model"])
        content["render"] = RenderSettings(**{**content["render"], "aabb": tuple(content["render"]["aabb"])})
        content["statistics"] = Statistics(**content["statistics"])
        content["motion"] = None if content["motion"] is None else MotionConfig(**content["motion"])
        return AvatarInfo(**content)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise R2TalkerError(f"{folder.info} is incomplete ({error}); train the avatar again") from error


def _distribute_rules(content: dict[str, Any]) -> None:
    """Put the rules of `compatibility` where they are asked for; avatars older than that hold them there already."""
    if "compatibility" not in content:
        return
    rules = asdict(Compatibility(**content.pop("compatibility")))
    for name, (part, rule) in _RULES.items():
        holder = content
        for key in part:
            holder = holder[key]
        holder[rule] = rules[name]


def write_weights(folder: AvatarFolder, tensors: dict[str, Tensor]) -> None:
    """Write all tensors."""
    write_tensors(folder.weights, tensors)


def read_weights(folder: AvatarFolder, device: torch.device) -> dict[str, Tensor]:
    """Read all tensors; R2TalkerError names the file when it is missing or broken."""
    try:
        with safe_open(str(folder.weights), "pt", device=str(device)) as file:
            keys = file.keys()
            return {key: file.get_tensor(key) for key in keys}
    except FileNotFoundError as error:
        raise R2TalkerError(f"{folder.weights} is missing; copy the whole avatar folder or train it again") from error
    except (SafetensorError, OSError) as error:
        raise R2TalkerError(f"{folder.weights} is broken ({error}); copy the avatar again or train it again") from error


def load_part(module: torch.nn.Module, prefix: str, tensors: dict[str, Tensor], file: Path) -> None:
    """Load the tensors named `prefix.*` strictly; R2TalkerError names every missing, unexpected or misshaped one."""
    part = {key.removeprefix(f"{prefix}."): value for key, value in tensors.items() if key.startswith(f"{prefix}.")}
    wanted = module.state_dict()
    faults = [f"{prefix}.{key} is missing" for key in wanted if key not in part]
    faults += [f"{prefix}.{key} is unexpected" for key in part if key not in wanted]
    faults += [
        f"{prefix}.{key} has shape {list(part[key].shape)} instead of {list(value.shape)}"
        for key, value in wanted.items()
        if key in part and part[key].shape != value.shape
    ]
    if faults:
        raise R2TalkerError(
            f"{file} does not fit avatar.json: {'; '.join(faults)}; copy the whole avatar again or train it again"
        )
    module.load_state_dict(part)


def _model_config(value: dict[str, Any]) -> ModelConfig:
    head = {**value["head"], "position_grid": GridLayout(**value["head"]["position_grid"])}
    torso = value["torso"]
    if torso is not None:
        torso = TorsoConfig(**{**torso, "grid": GridLayout(**torso["grid"]), "follow": _follow(torso.get("follow"))})
    condition_grid = GridLayout(**value["condition_grid"])
    return ModelConfig(**{**value, "head": HeadConfig(**head), "condition_grid": condition_grid, "torso": torso})


def _follow(value: dict[str, Any] | None) -> Follow | None:
    """Torsos of older avatars follow nothing, or all that the neck does."""
    if value is None:
        return None
    numbers: dict[str, Any] = {name: tuple(part) if isinstance(part, list) else part for name, part in value.items()}
    return Follow(**numbers)
