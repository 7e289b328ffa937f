"""The phases of one training run, from the dataset's tensors to the avatar's."""

import dataclasses
import math
from dataclasses import dataclass

import torch
from torch import Tensor

import r2talker
from r2talker.avatar import Avatar
from r2talker.avatar_format import AvatarInfo
from r2talker.conditions import window_conditions
from r2talker.data.dataset import Dataset, Pictures, read_pictures
from r2talker.data.sound import read_pcm
from r2talker.drive.life import Track
from r2talker.drive.log_mel import frame_loudness
from r2talker.drive.motion import MotionModel, advance_sound
from r2talker.files import write_json
from r2talker.model.head import HeadConfig
from r2talker.model.method import Method
from r2talker.model.occupancy import GRID_SIZE
from r2talker.model.talking_head import ModelConfig, TalkingHead
from r2talker.model.torso import TorsoConfig, torso_grid
from r2talker.ops.grid_encode.layout import GridLayout
from r2talker.progress import Progress
from r2talker.render.config import RenderSettings
from r2talker.train.arithmetic import Arithmetic, choose_arithmetic, in_one_order
from r2talker.train.checkpoint import load_model, read_position
from r2talker.train.config import SamplingConfig, TrainConfig
from r2talker.train.fused_head import fused_trains
from r2talker.train.head import Conditions, HeadPhase
from r2talker.train.hull import head_hull
from r2talker.train.loop import RunFolder, run_phase
from r2talker.train.losses import PatchLoss
from r2talker.train.motion import train_motion
from r2talker.train.motion_config import MotionTrainingConfig
from r2talker.train.parallel import ALONE, Team, follow_phase
from r2talker.train.phase import Phase, Watcher
from r2talker.train.sampling import frame_regions, rehearsal
from r2talker.train.scalar_log import ScalarLog
from r2talker.train.torso import TorsoPhase

FEATURE = "mel"
"""The audio feature that ingest always writes; methods driven by audio train on it."""

AXES = "zxy"
"""Across, up, forward: fine levels that have no room for all three coordinates then see the face from the front."""

LIPS_RATE = 0.1
"""Learning rates at the start of the lips phase, as a share of the head's at its start: where the head's have fallen to."""

LIPS_SAMPLING = SamplingConfig(anywhere=0.0, lips=0.6, eyes=0.2)
"""Where the patches of the lips phase lie."""

TORSO_RAYS = 4
"""Pixels of a torso step per ray of a head step: a pixel is one sample, a ray is up to sixteen."""


@dataclass
class Trainer:
    """One training run of one method on one dataset; `folder` holds its checkpoint, previews and log, which `team`'s leader writes."""

    method: Method
    dataset: Dataset
    config: TrainConfig
    motion: MotionTrainingConfig
    device: torch.device
    folder: RunFolder
    run: str
    progress: Progress
    watcher: Watcher | None = None
    team: Team = ALONE

    def train(self) -> Avatar | None:
        """Work through the phases that are not done yet; returns the avatar to the team's leader, None to the others."""
        arithmetic = choose_arithmetic(self.config, self.device)
        with in_one_order(self.config.deterministic, self.device):
            return self._train(arithmetic)

    def _train(self, arithmetic: Arithmetic) -> Avatar | None:
        torch.manual_seed(self.config.seed)
        self.dataset = self.dataset.with_cameras_on(self.device)
        sound = self._sound()
        pictures = self._pictures()
        model = TalkingHead(self._model_config(pictures.size), self.method).to(self.device)
        model.occupancy.restrict(head_hull(self.dataset, pictures, model.occupancy.centres(), RenderSettings().aabb))
        conditions, unit = self._conditions()
        model.head.contract.start(conditions.windows[: len(self.dataset.train)])
        self._train_phases(model, self._phases(model, pictures, conditions, arithmetic))
        self.team.part()
        if not self.team.leads:
            return None
        model.head.take_eye_unit(unit)
        motion = self._train_motion(sound)
        return self._avatar(model.eval(), motion, pictures)

    def _train_phases(self, model: TalkingHead, phases: list[Phase]) -> None:
        position = read_position(self.folder.checkpoint)
        if position is not None:
            load_model(self.folder.checkpoint, model)
            names = [phase.name for phase in phases]
            phases = phases[names.index(position.phase) :]
        starts = [position.step if position is not None and position.phase == phase.name else 0 for phase in phases]
        left = [(phase, start) for phase, start in zip(phases, starts, strict=True) if start < phase.steps]
        # Equal from the seed already, unless machines draw differently.
        self.team.follow(model.state_dict().values())
        if self.team.size > 1 and self.device.type == "cuda":
            # What is drawn on the device, noise and the torso's pixels, is to be something else in each process.
            torch.cuda.manual_seed(self.config.seed + self.team.rank)
        if not self.team.leads:
            for phase, start in left:
                follow_phase(phase, self.config, self.folder.checkpoint, start)
            return
        write_json(self.folder.root / "settings.json", dataclasses.asdict(self.config))
        with ScalarLog(self.folder.root / "tensorboard") as log:
            for phase, start in left:
                run_phase(phase, self.folder, self.config, self.run, start, self.progress, log, self.watcher)

    def _pictures(self) -> Pictures:
        frames = [*self.dataset.train, *self.dataset.held_out[:1]]
        self.progress.begin("pictures", len(frames))
        pictures = read_pictures(self.dataset, frames, size=self.config.train_size).to(self.device)
        self.progress.end(f"{len(frames)} pictures of {pictures.size} x {pictures.size}")
        return pictures

    def _model_config(self, size: int) -> ModelConfig:
        info = self.dataset.info
        landmarks = self.method.drive.kind == "landmarks"
        # The rendered box is about as wide as the picture: cells of a quarter pixel for the head, of half a pixel for the torso.
        position = dataclasses.replace(coarsened(self.method.position_grid, 4 * size), kind=self.config.grid_kind, axes=AXES)
        head = HeadConfig(position, codes=info.train_frames)
        torso = TorsoConfig(coarsened(torso_grid(), 2 * size), codes=info.train_frames)
        width = 0 if landmarks else info.features[FEATURE].width
        return ModelConfig(head, self.method.trained_grid, torso, width)

    def _phases(self, model: TalkingHead, pictures: Pictures, conditions: Conditions, arithmetic: Arithmetic) -> list[Phase]:
        config, dataset, team = self.config, self.dataset, self.team
        gpu = self.device.type == "cuda"
        rays = config.rays or (16384 if gpu else 512)
        fused = arithmetic.fused and fused_trains(model.head, self.device)
        regions = [frame_regions(dataset, pictures, frame) for frame in dataset.train]
        head = HeadPhase(
            model, dataset, pictures, conditions, regions, RenderSettings(), config,
            steps=config.head_steps or (12000 if gpu else 6000), rays=rays,
            frames_per_step=team.frames(config.frames_per_step, 8 if fused else 1),
            occupancy_cells=config.occupancy_cells or (GRID_SIZE**3 if gpu else 25000),
            order=rehearsal(dataset), sampling=config.sampling, arithmetic=arithmetic, team=team,
        )  # fmt: skip
        lips = dataclasses.replace(
            head,
            name="lips",
            steps=config.lips_steps if config.lips_steps is not None else (2000 if gpu else 0),
            sampling=LIPS_SAMPLING,
            patches=PatchLoss(config.patch, config.structure, config.edges),
            rate=LIPS_RATE,
        )
        torso = TorsoPhase(
            model, dataset, pictures, config, steps=config.torso_steps or (4000 if gpu else 1500), rays=TORSO_RAYS * rays,
            frames_per_step=team.frames(config.frames_per_step, 1), arithmetic=arithmetic, team=team,
        )  # fmt: skip
        return [phase for phase in (head, lips, torso) if phase.steps]

    def _conditions(self) -> tuple[Conditions, float]:
        """What drives the frames, and the usual eye opening of the training frames, in which its eye values are counted.

        In percent of the picture open and closed eyes differ by 0.2, which a network takes long to notice.
        """
        drive = self.method.drive
        sequence = self.dataset.displacements if drive.kind == "landmarks" else self.dataset.audio[FEATURE]
        windows = window_conditions(sequence, drive, self.dataset.info.statistics)
        usual = float(self.dataset.eye[: len(self.dataset.train)].median())
        unit = usual if usual > 0 else 1.0
        return Conditions(windows, self.dataset.eye / unit).to(self.device), unit

    def _sound(self) -> Tensor | None:
        """The clip's sound, for methods driven by landmarks and clips that have any; read early, so that a fault shows at once."""
        if self.method.drive.kind != "landmarks" or not self.dataset.info.source.has_sound:
            return None
        return read_pcm(self.dataset.folder.audio)

    def _train_motion(self, sound: Tensor | None) -> MotionModel | None:
        """The landmark generator of a clip with sound."""
        if sound is None:
            return None
        data, config = self.dataset, self.motion
        if self.config.deterministic:
            # However long its steps take here today.
            config = dataclasses.replace(config, seconds=math.inf)
        return train_motion(sound, data.displacements, len(data.train), config, self.progress, eye=data.eye)

    def _loudness(self, motion: MotionModel | None) -> Tensor | None:
        """How loud the clip is in each frame, in step with the pictures; None for a clip without sound."""
        if not self.dataset.info.source.has_sound:
            return None
        sound = read_pcm(self.dataset.folder.audio)
        return frame_loudness(sound if motion is None else advance_sound(sound, int(motion.sound_lag)))

    def _avatar(self, model: TalkingHead, motion: MotionModel | None, pictures: Pictures) -> Avatar:
        info, dataset = self.dataset.info, self.dataset
        described = AvatarInfo(
            created_by=f"r2talker {r2talker.__version__}",
            method=self.method.name,
            size=pictures.size,
            focal=info.focal * pictures.size / info.size,
            model=model.config,
            render=RenderSettings(),
            landmark_scale=info.landmark_scale,
            landmark_base=info.landmark_base,
            statistics=info.statistics,
            motion=None if motion is None else motion.config,
            feature="" if model.drives_landmarks else FEATURE,
            provenance={
                "run": self.run,
                "clip": dataclasses.asdict(info.source),
                "dataset": str(dataset.folder.root),
                "training": dataclasses.asdict(self.config),
                "motion": dataclasses.asdict(self.motion),
            },
        )
        frames = dataset.train
        c2w, eye, shown = (
            values[: len(frames)].to(self.device) for values in (dataset.c2w, dataset.eye, dataset.displacements)
        )
        loudness = self._loudness(motion)
        track = Track(c2w, eye, shown, None if loudness is None else loudness[: len(frames)].to(self.device))
        plate = pictures.background.cpu().numpy()
        if motion is not None:
            motion = motion.to(self.device).eval()
        return Avatar(described, model.requires_grad_(False), track, plate, motion)


def coarsened(layout: GridLayout, finest: float) -> GridLayout:
    """The layout without the levels of more than about `finest` cells, which a small picture says nothing about."""
    levels, cells = layout.levels, float(layout.finest)
    while cells / layout.growth > finest and levels > 1:
        levels, cells = levels - 1, cells / layout.growth
    return dataclasses.replace(layout, levels=levels, finest=round(cells))
