"""The phases of one training run, from the dataset's tensors to the avatar's."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import r2talker
from r2talker.avatar import Avatar
from r2talker.avatar_format import AvatarInfo
from r2talker.compatibility import OURS, UPSTREAM, WindowEdge
from r2talker.conditions import window_conditions
from r2talker.data.dataset import Dataset, Pictures, read_pictures
from r2talker.data.sound import read_pcm
from r2talker.drive.life import Track
from r2talker.drive.log_mel import frame_loudness
from r2talker.drive.motion import MotionModel, advance_sound
from r2talker.errors import R2TalkerError
from r2talker.files import write_json
from r2talker.model.head import HeadConfig
from r2talker.model.method import Method
from r2talker.model.talking_head import ModelConfig, TalkingHead
from r2talker.model.torso import TorsoConfig, torso_grid
from r2talker.ops.grid_encode.layout import GridLayout
from r2talker.ops.lpips.network import BACKBONE, LINEAR, load_lpips
from r2talker.progress import Progress
from r2talker.render.config import RenderSettings
from r2talker.train.arithmetic import Arithmetic, choose_arithmetic, in_one_order
from r2talker.train.cameras import RAYS_PER_FRAME, CameraPhase
from r2talker.train.checkpoint import KeptMotion, Position, load_kept, load_model, read_motion, read_position, save_motion
from r2talker.train.config import SamplingConfig, TrainConfig
from r2talker.train.corrections import Corrections
from r2talker.train.diary import Diary, RunFolder
from r2talker.train.exposure import Exposure
from r2talker.train.fused_head import fused_trains
from r2talker.train.hard import HardMap
from r2talker.train.head import Conditions, HeadPhase
from r2talker.train.history import History, read_history
from r2talker.train.hull import head_hull
from r2talker.train.lessons import Lessons
from r2talker.train.loop import Run, run_phase
from r2talker.train.losses import PatchLoss
from r2talker.train.motion import train_motion
from r2talker.train.motion_config import MotionTrainingConfig
from r2talker.train.pace import Pace, Stopwatch, phase_ends
from r2talker.train.parallel import ALONE, Team, follow_phase
from r2talker.train.phase import Phase, Watcher
from r2talker.train.plan import CLOSING_SECONDS, FRAMES_PER_STEP, GENERATOR_SHARE, MOST_CLOSING, settle
from r2talker.train.sampling import frame_regions, rehearsal
from r2talker.train.showing import MOST_SHOWN, Showing, shown_frames
from r2talker.train.summary import Summary
from r2talker.train.torso import TorsoPhase, neck_follow

FEATURE = "mel"
"""The audio feature that ingest always writes; methods driven by audio train on it."""

LIPS_RATE = 0.1
"""Learning rates at the start of the lips phase, as a share of the head's at its start: where the head's have fallen to."""

LIPS_SAMPLING = SamplingConfig(anywhere=0.0, lips=0.6, eyes=0.2)
"""Where the patches of the lips phase lie."""

BEFORE_CAMERAS = 2 / 3
"""Share of the head's steps that come before the cameras are refined."""

TORSO_RAYS = 4
"""Pixels of a torso step per ray of a head step: a pixel is one sample, a ray is up to sixteen."""


@dataclass(frozen=True)
class Entry:
    """One line of the list that training works through; share: of a time budget, relative to the others'."""

    phase: Phase
    share: float


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
    stopwatch: Stopwatch
    watcher: Watcher | None = None
    team: Team = ALONE

    def __post_init__(self) -> None:
        if self.team.size > 1 and self.config.time is not None:
            raise R2TalkerError("--time goes by the clock of one process; leave it out where several train together")
        if self.config.deterministic and self.config.time is not None:
            raise R2TalkerError("--time ends by the clock, which no two runs share; leave it out with --deterministic")
        self.dataset = self.dataset.with_cameras_on(self.device)
        self.amounts = settle(self.config, self.dataset.info.size, gpu=self.device.type == "cuda")

    def train(self) -> Avatar | None:
        """Work through what is not done yet; returns the avatar to the team's leader, None to the others."""
        arithmetic = choose_arithmetic(self.config, self.device)
        with in_one_order(self.config.deterministic, self.device):
            return self._train(arithmetic)

    def _train(self, arithmetic: Arithmetic) -> Avatar | None:
        sound, position = self._sound(), read_position(self.folder.checkpoint)
        self.stopwatch.before = 0.0 if position is None else position.seconds
        motion = self._motion(sound) if self.team.leads else None
        history = read_history(self.folder.history, position)
        history.generator = 0.0 if motion is None else motion.seconds
        pictures = self._pictures()
        torch.manual_seed(self.config.seed)
        model = TalkingHead(self._model_config(pictures.size), self.method).to(self.device)
        model.occupancy.restrict(head_hull(self.dataset, pictures, model.occupancy.centres(), RenderSettings().aabb))
        conditions, unit = self._conditions()
        model.head.contract.start(conditions.windows[: len(self.dataset.train)])
        # Kept in the checkpoints of all phases, but not in the avatar's weights.
        lessons = Lessons(
            HardMap(self.device) if self.config.sampling.hard else None,
            Exposure(len(self.dataset.train), self.device) if self.config.exposure else None,
            Corrections(self.dataset) if self.amounts.camera_steps else None,
        )
        entries = self._phases(model, pictures, conditions, arithmetic, lessons)
        if position is not None:
            load_model(self.folder.checkpoint, model)
            load_kept(self.folder.checkpoint, lessons.tensors())
        # Equal from the seed already, unless machines draw differently.
        self.team.follow(model.state_dict().values())
        if lessons.cameras is not None:
            lessons.cameras.apply_to(self.dataset)
        if self.team.size > 1 and self.device.type == "cuda":
            # What is drawn on the device, noise and the torso's pixels, is to be something else in each process.
            torch.cuda.manual_seed(self.config.seed + self.team.rank)
        if not self.team.leads:
            self._follow(entries, position)
            return None
        showing = Showing(model, self.dataset, pictures, conditions)
        self._lead(entries, showing, position, history, lessons.tensors())
        model.head.take_eye_unit(unit)
        return self._avatar(model, None if motion is None else motion.model, pictures, history)

    def _lead(
        self, entries: list[Entry], showing: Showing, position: Position | None, history: History, kept: dict[str, Tensor]
    ) -> None:
        """Train, and leave everything that people look at."""
        write_json(self.folder.root / "settings.json", self._settings())
        summary = Summary(self.folder, self.method.name, self.dataset, self._settings(), str(self.device), history)
        # The page is there from the start; and what draws it is compiled before the end of a time budget, which has no time for it.
        summary.start(showing.pairs(1))
        budget = self.config.seconds
        end = None if budget is None else budget - min(self._closing(showing), MOST_CLOSING * budget)
        with Diary(self.folder, history, summary.write) as diary:
            run = Run(self.run, self.config, self.progress, diary, self.stopwatch, self.watcher, kept, showing)
            self._train_phases(entries, run, position, end)
        self.team.part()
        if self.config.rules == "own" and showing.model.torso is not None:
            showing.model.torso.show_usual(self.dataset.kept)
        showing.model.eval()
        summary.finish(showing.pairs(), self.stopwatch.seconds())

    def _left(self, entries: list[Entry], position: Position | None) -> list[tuple[int, Position | None]]:
        """Numbers of the entries that are not done yet, and where the run stands in each."""
        names = [entry.phase.name for entry in entries]
        if position is not None and position.phase not in names:
            raise R2TalkerError(
                f"this run stopped in a phase that there is not on {self.device}; go on where it began, or --restart"
            )
        first = 0 if position is None else names.index(position.phase)
        places = [position if position is not None and position.phase == name else None for name in names]
        return [
            (number, places[number])
            for number in range(first, len(entries))
            if (here := places[number]) is None or here.step < here.steps
        ]

    def _follow(self, entries: list[Entry], position: Position | None) -> None:
        """The same steps as the leader's, and nothing else."""
        for number, here in self._left(entries, position):
            start = 0 if here is None else here.step
            follow_phase(entries[number].phase, self.config, self.folder.checkpoint, start)
        self.team.part()

    def _train_phases(self, entries: list[Entry], run: Run, position: Position | None, end: float | None) -> None:
        """Those that are not done yet; end: seconds of training when the last one has to be, or None."""
        shares, begin = [entry.share for entry in entries], run.diary.history.generator
        ends = None if end is None else phase_ends(shares, begin, end)
        for number, here in self._left(entries, position):
            run_phase(entries[number].phase, run, here, None if ends is None else Pace(self.stopwatch, ends[number]))

    def _closing(self, showing: Showing) -> float:
        """Seconds that a time budget keeps for what follows the last step; pictures take as long as one takes now."""
        begun = self.stopwatch.seconds()
        showing.pairs(1)
        return CLOSING_SECONDS + (MOST_SHOWN + 1) * (self.stopwatch.seconds() - begun)

    def _settings(self) -> dict[str, Any]:
        """All settings, with what the quality stands for filled in; under a time budget the numbers of steps are left open."""
        folder = self.config.lpips_dir
        settings = {**dataclasses.asdict(self.config), **dataclasses.asdict(self.amounts)}
        settings["lpips_dir"] = None if folder is None else str(folder)
        if self.config.seconds is None:
            return settings
        return {name: None if name.endswith("_steps") else value for name, value in settings.items()}

    def _pictures(self) -> Pictures:
        """Training frames, in order, and then the held-out ones that are shown."""
        frames = [*self.dataset.train, *shown_frames(self.dataset)]
        self.progress.begin("pictures", len(frames))
        pictures = read_pictures(self.dataset, frames, size=self.amounts.train_size).to(self.device)
        self.progress.end(
            f"{len(frames)} pictures of {pictures.size} x {pictures.size}; "
            f"look on in {self.folder.page} and {self.folder.preview('*')}"
        )
        return pictures

    def _model_config(self, size: int) -> ModelConfig:
        info = self.dataset.info
        landmarks = self.method.drive.kind == "landmarks"
        width = 0 if landmarks else info.features[FEATURE].width
        if self.config.rules == "reference":
            head = HeadConfig(self.method.position_grid, codes=info.train_frames)
            return ModelConfig(head, self.method.condition_grid, TorsoConfig(codes=info.train_frames), width, UPSTREAM.film)
        # The rendered box is about as wide as the picture: cells of a quarter pixel for the head, of a pixel for the torso.
        position = dataclasses.replace(
            coarsened(self.method.position_grid, 4 * size),
            kind=self.config.grid_kind,
            axes=OURS.axes,
            log2_table=self.amounts.table,
        )
        head = HeadConfig(position, codes=info.train_frames)
        # Beside the neck a torso reaches as far beyond the picture as the neck moves: the coordinates shrink, the cells stay a pixel.
        follow, reach = neck_follow(self.dataset)
        grid, shrink = coarsened(torso_grid(), size * (1 + reach)), TorsoConfig.shrink / (1 + reach)
        torso = TorsoConfig(grid, codes=info.train_frames, shrink=shrink, follow=follow)
        return ModelConfig(head, self.method.trained_grid, torso, width)

    def _phases(
        self, model: TalkingHead, pictures: Pictures, conditions: Conditions, arithmetic: Arithmetic, lessons: Lessons
    ) -> list[Entry]:
        """The list, in order; every phase has its own loss and schedule."""
        config, dataset, amounts, team = self.config, self.dataset, self.amounts, self.team
        fused = arithmetic.fused and fused_trains(model.head, self.device)
        regions = [frame_regions(dataset, pictures, frame) for frame in dataset.train]
        head = HeadPhase(
            model, dataset, pictures, conditions, regions, RenderSettings(), config,
            steps=amounts.head_steps, rays=amounts.rays,
            frames_per_step=team.frames(config.frames_per_step, FRAMES_PER_STEP if fused else 1),
            occupancy_cells=amounts.occupancy_cells, order=rehearsal(dataset), sampling=config.sampling,
            net_rate=amounts.net_rate, recombine=amounts.recombine, lessons=lessons, arithmetic=arithmetic, team=team,
        )  # fmt: skip
        lips = dataclasses.replace(
            head,
            name="lips",
            again=True,
            steps=amounts.lips_steps,
            sampling=LIPS_SAMPLING,
            patches=self._patch_loss(),
            rate=LIPS_RATE,
            lessons=Lessons(exposure=lessons.exposure, learning=False),
        )
        torso = TorsoPhase(
            model, dataset, pictures, config, steps=amounts.torso_steps, rays=TORSO_RAYS * amounts.rays,
            frames_per_step=team.frames(config.frames_per_step, 1), exposure=lessons.exposure, arithmetic=arithmetic, team=team,
        )  # fmt: skip
        entries = [*self._head_entries(head, lessons.cameras), Entry(lips, share=1), Entry(torso, share=1)]
        return [entry for entry in entries if entry.phase.steps]

    def _patch_loss(self) -> PatchLoss:
        """R2TalkerError for a folder without networks, early and not when the lips phase begins."""
        config, folder = self.config, self.config.lpips_dir
        if folder is not None and not self.amounts.lips_steps:
            raise R2TalkerError(
                "--lpips-dir is for the lips phase, which there is not on a CPU by default; give --lips-steps too"
            )
        network = None if folder is None else load_lpips(folder, self.device)
        if folder is not None and network is None:
            raise R2TalkerError(
                f"{folder} holds neither {BACKBONE} nor {LINEAR}, which LPIPS is made of; leave out --lpips-dir"
            )
        return PatchLoss(config.patch, config.structure, config.edges, config.perception, network)

    def _head_entries(self, head: HeadPhase, corrections: Corrections | None) -> list[Entry]:
        """The head, in two parts where the cameras are refined between them."""
        steps = self.amounts.camera_steps
        if corrections is None:
            return [Entry(head, share=4)]
        frames = self.team.frames(self.config.frames_per_step, max(1, head.rays // RAYS_PER_FRAME))
        cameras = CameraPhase(head, corrections, steps, head.rays, frames, self.team)
        before = round(BEFORE_CAMERAS * head.steps)
        first = dataclasses.replace(head, steps=before)
        again = dataclasses.replace(head, name="head-again", steps=head.steps - before, again=True)
        return [Entry(first, 4 * BEFORE_CAMERAS), Entry(cameras, share=1), Entry(again, 4 * (1 - BEFORE_CAMERAS))]

    def _conditions(self) -> tuple[Conditions, float]:
        """What drives the frames, and the usual eye opening of the training frames, in which its eye values are counted.

        In percent of the picture open and closed eyes differ by 0.2, which a network takes long to notice.
        """
        drive = self.method.drive
        sequence = self.dataset.displacements if drive.kind == "landmarks" else self.dataset.audio[FEATURE]
        windows = window_conditions(sequence, drive, self.dataset.info.statistics, edge=self._window_edge)
        usual = float(self.dataset.eye[: len(self.dataset.train)].median())
        unit = usual if usual > 0 else 1.0
        return Conditions(windows, self.dataset.eye / unit).to(self.device), unit

    @property
    def _window_edge(self) -> WindowEdge:
        return UPSTREAM.window_edge if self.config.rules == "reference" else OURS.window_edge

    def _sound(self) -> Tensor | None:
        """The clip's sound, for methods driven by landmarks and clips that have any; read early, so that a fault shows at once."""
        if self.method.drive.kind != "landmarks" or not self.dataset.info.source.has_sound:
            return None
        return read_pcm(self.dataset.folder.audio)

    def _motion(self, sound: Tensor | None) -> KeptMotion | None:
        """The landmark generator of a clip with sound, with the seconds of training at its end.

        It comes first, because how long it takes is not known beforehand and the other phases can give way.
        """
        if sound is None:
            return None
        kept = read_motion(self.folder.motion, self.run)
        if kept is not None:
            self.stopwatch.before = max(self.stopwatch.before, kept.seconds)
            return kept
        data, budget = self.dataset, self.config.seconds
        most = self.motion.seconds if budget is None else min(self.motion.seconds, budget * GENERATOR_SHARE)
        # However long its steps take here today.
        most = math.inf if self.config.deterministic and budget is None else most
        config = dataclasses.replace(self.motion, seconds=most)
        model = train_motion(sound, data.displacements, len(data.train), config, self.progress, eye=data.eye)
        made = KeptMotion(model, self.stopwatch.seconds())
        save_motion(self.folder.motion, self.run, made)
        return made

    def _loudness(self, motion: MotionModel | None) -> Tensor | None:
        """How loud the clip is in each frame, in step with the pictures; None for a clip without sound."""
        if not self.dataset.info.source.has_sound:
            return None
        sound = read_pcm(self.dataset.folder.audio)
        return frame_loudness(sound if motion is None else advance_sound(sound, int(motion.sound_lag)))

    def _avatar(self, model: TalkingHead, motion: MotionModel | None, pictures: Pictures, history: History) -> Avatar:
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
            window_edge=self._window_edge,
            provenance={
                "run": self.run,
                "clip": dataclasses.asdict(info.source),
                "dataset": str(dataset.folder.root),
                "training": self._settings(),
                "steps": {record.name: record.steps for record in history.phases},
                "seconds": round(self.stopwatch.seconds(), 1),
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
