"""One training run, from the dataset's tensors to the avatar's."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from r2talker.avatar import Avatar
from r2talker.data.dataset import Dataset, Pictures, read_pictures
from r2talker.data.sound import read_pcm
from r2talker.errors import R2TalkerError
from r2talker.files import write_json
from r2talker.model.method import Method
from r2talker.model.talking_head import TalkingHead
from r2talker.progress import Progress
from r2talker.render.config import RenderSettings
from r2talker.train.arithmetic import Arithmetic, choose_arithmetic, in_one_order
from r2talker.train.body import Body, track_body
from r2talker.train.checkpoint import KeptMotion, Position, load_kept, load_model, read_motion, read_position, save_motion
from r2talker.train.conditions import Conditions, read_conditions, window_edge
from r2talker.train.config import TrainConfig
from r2talker.train.corrections import Corrections
from r2talker.train.diary import Diary, RunFolder
from r2talker.train.exposure import Exposure
from r2talker.train.finished import make_avatar
from r2talker.train.hard import HardMap
from r2talker.train.history import History, read_history
from r2talker.train.hull import head_hull
from r2talker.train.lessons import Lessons
from r2talker.train.loop import Run, run_phase
from r2talker.train.motion import train_motion
from r2talker.train.motion_config import MotionTrainingConfig
from r2talker.train.pace import Pace, Stopwatch, phase_ends
from r2talker.train.parallel import ALONE, Team, follow_phase
from r2talker.train.phase import Watcher
from r2talker.train.phase_list import Entry, PhaseList
from r2talker.train.plan import CLOSING_SECONDS, GENERATOR_SHARE, MOST_CLOSING, settle
from r2talker.train.shape import shape_model
from r2talker.train.showing import MOST_SHOWN, Showing, shown_frames
from r2talker.train.summary import Summary


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
        # Read first, so that a fault of the dataset shows at once.
        sound, conditions = self._sound(), self._conditions()
        position = read_position(self.folder.checkpoint)
        self.stopwatch.before = 0.0 if position is None else position.seconds
        motion = self._motion(sound) if self.team.leads else None
        history = read_history(self.folder.history, position)
        history.generator = 0.0 if motion is None else motion.seconds
        pictures = self._pictures()
        torch.manual_seed(self.config.seed)
        body = track_body(self.dataset, pictures, self.progress) if self.config.rules == "own" else None
        model = self._untrained(pictures, conditions, body)
        lessons = self._lessons()
        phases = PhaseList(
            model, self.dataset, pictures, conditions, self.config, self.amounts, arithmetic, lessons, self.team, body
        ).entries()
        self._resume(position, model, lessons)
        if not self.team.leads:
            self._follow(phases, position)
            return None
        showing = Showing(model, self.dataset, pictures, conditions)
        self._lead(phases, showing, position, history, lessons.tensors())
        model.take_eye_unit(conditions.eye_unit, conditions.eye_rest)
        edge, provenance = window_edge(self.config.rules), self._provenance(history)
        return make_avatar(model, None if motion is None else motion.model, self.dataset, pictures, edge, provenance)

    def _conditions(self) -> Conditions:
        config = self.config
        # With rays of their own lids are found sooner so; the reference has no place for it.
        from_usual = self.amounts.lids and config.rules == "own"
        edge = window_edge(config.rules)
        return read_conditions(self.dataset, self.method.drive, edge, from_usual=from_usual).to(self.device)

    def _untrained(self, pictures: Pictures, conditions: Conditions, body: Body | None) -> TalkingHead:
        """The model as its first phase begins, fitted to what drives it."""
        model = TalkingHead(shape_model(self.method, self.dataset, self.config, self.amounts, body), self.method)
        model = model.to(self.device)
        model.occupancy.restrict(head_hull(self.dataset, pictures, model.occupancy.centres(), RenderSettings().aabb))
        model.head.contract.start(conditions.windows[: len(self.dataset.train)])
        return model

    def _lessons(self) -> Lessons:
        """Kept in the checkpoints of all phases, but not in the avatar's weights."""
        return Lessons(
            HardMap(self.device) if self.config.sampling.hard else None,
            Exposure(len(self.dataset.train), self.device) if self.config.exposure else None,
            Corrections(self.dataset) if self.amounts.camera_steps else None,
        )

    def _resume(self, position: Position | None, model: TalkingHead, lessons: Lessons) -> None:
        """Go on from the checkpoint if there is one, and from the same in every process."""
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
            follow_phase(entries[number].phase, self.folder.checkpoint, start)
        self.team.part()

    def _train_phases(self, entries: list[Entry], run: Run, position: Position | None, end: float | None) -> None:
        """Those that are not done yet; end: seconds of training when the last one has to be, or None."""
        shares, begin = [entry.share for entry in entries], run.diary.history.generator
        ends = None if end is None else phase_ends(shares, begin, end)
        for number, here in self._left(entries, position):
            phase, pace = entries[number].phase, None
            if ends is not None:
                # A GPU takes the steps of its quality in less than a minute; with more of them avatars only get worse.
                most = phase.steps if self.device.type == "cuda" else None
                pace = Pace(self.stopwatch, ends[number], most)
            run_phase(phase, run, here, pace)

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

    def _provenance(self, history: History) -> dict[str, Any]:
        """What the avatar says of its training."""
        return {
            "run": self.run,
            "training": self._settings(),
            "steps": {record.name: record.steps for record in history.phases},
            "seconds": round(self.stopwatch.seconds(), 1),
            "motion": dataclasses.asdict(self.motion),
        }

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

    def _sound(self) -> Tensor | None:
        """The clip's sound, for methods driven by landmarks and clips that have any."""
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
