"""The list that training works through: which phases there are, in which order, what each gets of the steps and the time."""

from dataclasses import dataclass, replace

from r2talker.data.dataset import Dataset, Pictures
from r2talker.errors import R2TalkerError
from r2talker.model.talking_head import TalkingHead
from r2talker.ops.lpips.network import Lpips, load_lpips
from r2talker.render.config import RenderSettings
from r2talker.train.arithmetic import Arithmetic
from r2talker.train.body import Body
from r2talker.train.cameras import RAYS_PER_FRAME, CameraPhase
from r2talker.train.conditions import Conditions
from r2talker.train.config import SamplingConfig, TrainConfig
from r2talker.train.corrections import Corrections
from r2talker.train.head import HeadPhase, runs_fused
from r2talker.train.lessons import Lessons
from r2talker.train.losses import PatchLoss
from r2talker.train.parallel import Team
from r2talker.train.phase import Phase
from r2talker.train.plan import FRAMES_PER_STEP, Amounts
from r2talker.train.recombine import PERIOD
from r2talker.train.sampling import frame_regions, rehearsal
from r2talker.train.torso import TorsoPhase

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
    """One line of the list; share: of a time budget, relative to the others'."""

    phase: Phase
    share: float


@dataclass(frozen=True)
class PhaseList:
    """Makes the phases that train `model`. lessons: what outlives a phase beside the model; team: the processes that share the
    steps; body: how it stands in the training frames, None for torsos that follow nothing."""

    model: TalkingHead
    dataset: Dataset
    pictures: Pictures
    conditions: Conditions
    config: TrainConfig
    amounts: Amounts
    arithmetic: Arithmetic
    lessons: Lessons
    team: Team
    body: Body | None

    def entries(self) -> list[Entry]:
        """The list, in order, without phases of no steps; R2TalkerError for settings that cannot be followed."""
        head = self._head()
        entries = [*self._with_cameras(head), Entry(self._lips(head), share=1), Entry(self._torso(), share=1)]
        return [entry for entry in entries if entry.phase.steps]

    def _head(self) -> HeadPhase:
        config, dataset, amounts, arithmetic = self.config, self.dataset, self.amounts, self.arithmetic
        fused = runs_fused(arithmetic, self.model.head, self.pictures.background.device)
        frames = self.team.frames(config.frames_per_step, FRAMES_PER_STEP if fused else 1)
        if fused and amounts.recombine and frames < PERIOD:
            # Kernels have the same roles in every step; elsewhere roles go round over the steps.
            raise R2TalkerError(
                f"of the {frames} frames of a step none is left for its eyes only, which one in {PERIOD} is; "
                f"give --frames-per-step {PERIOD} or more, or --recombine False"
            )
        regions = [frame_regions(dataset, self.pictures, frame) for frame in dataset.train]
        return HeadPhase(
            self.model, dataset, self.pictures, self.conditions, regions, RenderSettings(), config,
            steps=amounts.head_steps, rays=amounts.rays, frames_per_step=frames,
            occupancy_cells=amounts.occupancy_cells, order=rehearsal(dataset), sampling=config.sampling,
            net_rate=amounts.net_rate, recombine=amounts.recombine, lids=amounts.lids,
            lessons=self.lessons, arithmetic=arithmetic, team=self.team,
        )  # fmt: skip

    def _with_cameras(self, head: HeadPhase) -> list[Entry]:
        """The head, in two parts where the cameras are refined between them."""
        corrections = self.lessons.cameras
        if corrections is None:
            return [Entry(head, share=4)]
        before = round(BEFORE_CAMERAS * head.steps)
        first = replace(head, steps=before)
        again = replace(head, name="head-again", steps=head.steps - before, again=True)
        return [
            Entry(first, 4 * BEFORE_CAMERAS),
            Entry(self._cameras(head, corrections), share=1),
            Entry(again, 4 * (1 - BEFORE_CAMERAS)),
        ]

    def _cameras(self, head: HeadPhase, corrections: Corrections) -> CameraPhase:
        frames = self.team.frames(self.config.frames_per_step, max(1, head.rays // RAYS_PER_FRAME))
        return CameraPhase(head, corrections, self.amounts.camera_steps, head.rays, frames, self.team)

    def _lips(self, head: HeadPhase) -> HeadPhase:
        config = self.config
        return replace(
            head,
            name="lips",
            again=True,
            lids=False,
            steps=self.amounts.lips_steps,
            sampling=LIPS_SAMPLING,
            patches=PatchLoss(config.patch, config.structure, config.edges, config.perception, self._perception()),
            rate=LIPS_RATE,
            lessons=Lessons(exposure=self.lessons.exposure, learning=False),
        )

    def _perception(self) -> Lpips | None:
        """The user's LPIPS; R2TalkerError for a folder without it, early and not when the lips phase begins."""
        folder = self.config.lpips_dir
        if folder is None:
            return None
        if not self.amounts.lips_steps:
            raise R2TalkerError(
                "--lpips-dir is for the lips phase, which there is not on a CPU by default; give --lips-steps too"
            )
        return load_lpips(folder, self.pictures.background.device)

    def _torso(self) -> TorsoPhase:
        config, amounts, team = self.config, self.amounts, self.team
        return TorsoPhase(
            self.model, self.dataset, self.pictures, config, steps=amounts.torso_steps, rays=TORSO_RAYS * amounts.rays,
            frames_per_step=team.frames(config.frames_per_step, 1), stances=None if self.body is None else self.body.stances,
            exposure=self.lessons.exposure, arithmetic=self.arithmetic, team=team,
        )  # fmt: skip
