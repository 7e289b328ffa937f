"""The avatars that can be served: one, or those of a folder; loaded when first asked for."""

import threading
from pathlib import Path

import torch

from r2talker.avatar import Avatar
from r2talker.avatar_format import AvatarFolder
from r2talker.device import choose_device
from r2talker.errors import R2TalkerError
from r2talker.live.messages import Look
from r2talker.live.performer import Performer, on_cpu
from r2talker.live.session import Session
from r2talker.live.stage import Stage
from r2talker.live.views import Drawer, View


class Library:
    """Avatars by name, each with its stage. Names are those of folders directly inside `root`, never paths."""

    def __init__(self, path: Path, *, device: str | None = None) -> None:
        """path: an avatar, or a folder of avatars. R2TalkerError when there is none."""
        self._device = device
        self._stages: dict[str, Stage] = {}
        self._loading, self._gpu = threading.Lock(), threading.Lock()
        alone = AvatarFolder(path).info.exists()
        self.root = path.resolve().parent if alone else path.resolve()
        self._only = path.resolve().name if alone else None
        self.first = next(iter(self.names()), "")
        if not self.first:
            raise R2TalkerError(f"{path} is neither an avatar nor a folder of avatars; train one with `r2talker create`")

    @property
    def device(self) -> torch.device:
        """Where avatars are drawn."""
        return choose_device(self._device or "auto")

    def names(self) -> list[str]:
        """Avatars that can be asked for."""
        found = []
        if self.root.is_dir():
            # Links out of the folder are not of the folder.
            inside = [entry for entry in self.root.iterdir() if entry.resolve().parent == self.root]
            found = [entry.name for entry in inside if AvatarFolder(entry).info.is_file()]
        return sorted(name for name in found if self._only in (None, name))

    def stage(self, name: str) -> Stage:
        """The stage of an avatar, which is loaded if it is not yet. R2TalkerError for names that are not in the folder."""
        if name not in self.names():
            raise R2TalkerError(f"there is no avatar {name[:60]!r} here; choose one of {', '.join(self.names())}")
        with self._loading:
            if name not in self._stages:
                with self._gpu:
                    avatar = Avatar.load(self.root / name, device=self._device)
                    if avatar.device.type == "cuda":
                        # What performers do is too little to share out: with a thread for every core of a large machine it took 56 ms a frame.
                        torch.set_num_threads(1)
                    _warm_up(avatar)
                self._stages[name] = Stage(avatar, name=f"stage {name}", gpu=self._gpu)
            return self._stages[name]

    def stages(self) -> dict[str, Stage]:
        """Those that are loaded."""
        return dict(self._stages)

    def close(self) -> None:
        """End all stages."""
        for stage in self._stages.values():
            stage.close()
        self._stages.clear()


def _warm_up(avatar: Avatar) -> None:
    """Draw once, so that what is compiled at first use does not make the first listener wait. R2TalkerError: it cannot speak live."""
    performer = Performer(on_cpu(avatar))
    moved = [performer.perform(planned) for planned in Session(performer.ahead, 0.0).plan(0.0)]
    Drawer(avatar, batch=1).draw(moved, View(Look(), 64))
