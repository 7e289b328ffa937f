"""Fits the face model to a clip in the stages of upstream.md 8.2: focal length, landmarks, texture and light, colours."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from r2talker.data.track_params import TrackParams, euler_to_matrix
from r2talker.ingest.morphable.config import MorphableConfig
from r2talker.ingest.morphable.model import MorphableModel
from r2talker.ingest.morphable.render import LIGHTS, light_vertices, render_mesh, vertex_normals
from r2talker.progress import Progress, Silent

FOCALS = tuple(range(600, 1401, 100))
"""Focal lengths that are tried, pixels at REFERENCE_SIZE."""

REFERENCE_SIZE = 512
BATCH = 64
_BEFORE = 5
_SEARCH_EVERY = 40
_START_DEPTH = -7.0
_LAPLACE = 1e5

Pictures = Callable[[Sequence[int]], UInt8[Tensor, "frames size size 3"]]
"""Gives the frames' RGB pictures at the size in which colours are compared."""


@dataclass
class FaceState:
    """The unknowns of some frames, as leaves of the optimisation."""

    identity: Tensor
    expression: Tensor
    euler: Tensor
    trans: Tensor

    @classmethod
    def start(cls, model: MorphableModel, frames: int) -> "FaceState":
        """The mean face, 70 cm in front of the camera."""
        device = model.mean.device
        trans = torch.zeros(frames, 3, device=device)
        trans[:, 2] = _START_DEPTH
        zeros = [
            torch.zeros(n, m, device=device)
            for n, m in ((1, len(model.identity)), (frames, len(model.expression)), (frames, 3))
        ]
        return cls(zeros[0], zeros[1], zeros[2], trans)

    def some(self, frames: Sequence[int] | slice) -> "FaceState":
        """Copies for a part of the frames."""
        index = frames if isinstance(frames, slice) else list(frames)
        parts = (self.expression[index], self.euler[index], self.trans[index])
        return FaceState(self.identity.detach().clone(), *(part.detach().clone() for part in parts))

    def camera(self, model: MorphableModel, vertices: Tensor | None = None) -> Float[Tensor, "frames chosen 3"]:
        """Vertices in camera space."""
        shape = model.shape(self.identity, self.expression, vertices)
        return shape @ euler_to_matrix(self.euler).transpose(1, 2) + self.trans[:, None]


def fit_face(
    model: MorphableModel,
    points: Float[Tensor, "frames 68 2"],
    size: int,
    config: MorphableConfig,
    pictures: Pictures,
    progress: Progress | None = None,
) -> TrackParams:
    """Identity of the clip, expression and pose of every frame. points: pixels of pictures of `size` x `size`."""
    fit = _Fit(model, points.to(model.mean), size, config, pictures, progress or Silent())
    return fit.run()


def project(camera: Float[Tensor, "frames points 3"], focal: float, size: int) -> Float[Tensor, "frames points 2"]:
    """Pixels of points in camera space (upstream.md 2.1)."""
    x, y, z = camera.unbind(-1)
    return torch.stack([size / 2 - focal * x / z, size / 2 + focal * y / z], -1)


@dataclass
class _Fit:
    model: MorphableModel
    points: Tensor
    size: int
    config: MorphableConfig
    pictures: Pictures
    progress: Progress

    def run(self) -> TrackParams:
        frames = len(self.points)
        focal = self.config.focal if self.config.focal is not None else self._search_focal()
        state = FaceState.start(self.model, frames)
        self.progress.begin("landmarks of the face model", 2)
        self._fit_landmarks(state, self.points, focal, ((1500, ((0, 1.0), (1000, 0.1))), (2000, ((0, 0.1), (1000, 0.02)))))
        self.progress.end(f"landmarks fitted to {self._error(state, self.points, focal):.2f} px rms")
        if self.config.photometric:
            self._fit_colours(state, focal)
        return TrackParams(state.identity, state.expression, state.euler, state.trans, float(focal))

    def _search_focal(self) -> float:
        """Stage A: the focal length with which a few frames' landmarks fit best."""
        chosen = self.points[::_SEARCH_EVERY]
        candidates = [focal * self.size / REFERENCE_SIZE for focal in FOCALS]
        self.progress.begin("focal length", len(candidates))
        errors = []
        for done, focal in enumerate(candidates):
            state = FaceState.start(self.model, len(chosen))
            self._fit_landmarks(state, chosen, focal, ((2000, ((0, 0.1),)), (2500, ((0, 0.1), (1500, 0.02)))))
            errors.append(self._error(state, chosen, focal))
            self.progress.advance(done + 1, f"{focal:.0f} px: {errors[-1]:.2f} px rms")
        best = candidates[int(torch.tensor(errors).argmin())]
        self.progress.end(f"focal length {best:.0f} px")
        return best

    def _fit_landmarks(
        self, state: FaceState, points: Tensor, focal: float, plan: tuple[tuple[int, tuple[tuple[int, float], ...]], ...]
    ) -> None:
        """Pose alone, then pose with identity and expression; plan: iterations and rates from which iteration on."""
        for everything, (iterations, rates) in zip((False, True), plan, strict=True):
            leaves = [state.euler, state.trans, *((state.identity, state.expression) if everything else ())]

            def loss(_: int, everything: bool = everything) -> Tensor:
                total = self._landmark_loss(state, points, focal)
                if everything:
                    total = total + 0.5 * state.identity.square().mean() + 0.4 * state.expression.square().mean()
                return total

            self._optimise([(leaf, 1.0) for leaf in leaves], iterations, rates, loss)

    def _fit_colours(self, state: FaceState, focal: float) -> None:
        """Stages C and D."""
        frames = len(self.points)
        spread = list(range(0, frames, max(1, frames // BATCH)))[:BATCH]
        texture, light = self._fit_texture(state, spread, focal)
        starts = [*range(0, max(frames - BATCH, 0), BATCH), max(frames - BATCH, 0)]
        self.progress.begin("colours of the face model", len(starts))
        for done, first in enumerate(starts):
            self._fit_batch(state, first, min(first + BATCH, frames), texture, light, focal)
            self.progress.advance(done + 1)
        self.progress.end(f"colours fitted, landmarks {self._error(state, self.points, focal):.2f} px rms")

    def _fit_texture(self, state: FaceState, chosen: list[int], focal: float) -> tuple[Tensor, Tensor]:
        """Stage C: the person's texture and mean light; identity moves along."""
        device = self.model.mean.device
        texture = torch.zeros(1, len(self.model.texture), device=device)
        light = torch.zeros(len(chosen), LIGHTS, device=device)
        part, points = state.some(chosen), self.points[chosen]
        truth = self.pictures(chosen).to(device)

        def loss(step: int) -> Tensor:
            colour = self._colour_loss(part, texture, light, truth, focal)
            marks, own = self._landmark_loss(part, points, focal), part.identity.square().mean()
            moved = part.expression.square().mean()
            if step <= self._iterations(50):
                return colour + 3 * marks + 2 * own + moved
            return colour + 0.05 * marks + own + 0.8 * moved

        leaves = [
            (texture, 10.0),
            (light, 10.0),
            (part.euler, 1.0),
            (part.trans, 1.0),
            (part.expression, 1.0),
            (part.identity, 1.0),
        ]
        self._optimise(leaves, 71, ((0, 0.01), (50, 0.002)), loss)
        state.identity.copy_(part.identity)
        return texture, light.mean(0, keepdim=True)

    def _fit_batch(self, state: FaceState, first: int, end: int, texture: Tensor, light: Tensor, focal: float) -> None:
        """Stage D: consecutive frames, held together in time with those that are finished."""
        frames = slice(first, end)
        part, lights = state.some(frames), light.repeat(end - first, 1)
        truth = self.pictures(range(first, end)).to(self.model.mean.device)
        before = state.some(slice(max(first - _BEFORE, 0), first)).camera(self.model, self.model.rigid)

        def loss(step: int) -> Tensor:
            colour = self._colour_loss(part, texture, lights, truth, focal)
            marks = self._landmark_loss(part, self.points[frames], focal)
            path = torch.cat([before, part.camera(self.model, self.model.rigid)])
            bend = path[1:-1] - 0.5 * (path[:-2] + path[2:])
            smooth = bend.square().mean() if len(bend) else bend.sum()
            weight = 8.0 if step <= self._iterations(30) else 1.5
            return 0.5 * colour + weight * marks + _LAPLACE * smooth + part.expression.square().mean()

        leaves = [(leaf, 1.0) for leaf in (part.expression, part.euler, part.trans, lights)]
        self._optimise(leaves, 50, ((0, 0.005),), loss)
        for name in ("expression", "euler", "trans"):
            getattr(state, name)[frames] = getattr(part, name)

    def _landmark_loss(self, state: FaceState, points: Tensor, focal: float) -> Tensor:
        """Mean squared distance in pixels at REFERENCE_SIZE, over frames, points and axes."""
        camera = state.camera(self.model, self.model.landmark_candidates())
        apart = self.model.pick_landmarks(project(camera, focal, self.size)) - points
        return (apart * (REFERENCE_SIZE / self.size)).square().mean()

    def _colour_loss(self, state: FaceState, texture: Tensor, light: Tensor, truth: Tensor, focal: float) -> Tensor:
        """Per picture the squared difference of colours under the mesh over 255, by its area; mean over the pictures."""
        size = self.config.render_size
        camera = state.camera(self.model)
        colours = light_vertices(self.model.colours(texture), vertex_normals(self.model, camera), light)
        places = project(camera, focal * size / self.size, size)
        shown, inside = render_mesh(places, -camera[..., 2], colours, self.model.triangles, size)
        apart = ((shown - truth).square().sum(-1) * inside).sum((1, 2)) / 255
        return (apart / inside.sum((1, 2)).clamp_min(1)).mean()

    @torch.no_grad()
    def _error(self, state: FaceState, points: Tensor, focal: float) -> float:
        return float(self._landmark_loss(state, points, focal) * 2) ** 0.5

    def _iterations(self, reference: int) -> int:
        return max(1, round(reference * self.config.effort))

    def _optimise(
        self,
        leaves: Sequence[tuple[Tensor, float]],
        iterations: int,
        rates: tuple[tuple[int, float], ...],
        loss: Callable[[int], Tensor],
    ) -> None:
        """Adam in place on the leaves, each with its factor of the rate; rates: from which iteration on which holds."""
        for leaf, _ in leaves:
            leaf.requires_grad_(True)
        optimizer = torch.optim.Adam([{"params": [leaf], "lr": 1.0} for leaf, _ in leaves])
        for step in range(self._iterations(iterations)):
            rate = [value for first, value in rates if step >= (self._iterations(first) if first else 0)][-1]
            for group, (_, factor) in zip(optimizer.param_groups, leaves, strict=True):
                group["lr"] = rate * factor
            optimizer.zero_grad(set_to_none=True)
            loss(step).backward()
            optimizer.step()
        for leaf, _ in leaves:
            leaf.requires_grad_(False)
