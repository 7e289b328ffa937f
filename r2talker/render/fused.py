"""Batches of pictures by fused kernels, replayed as one graph per batch."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from r2talker.model.talking_head import TalkingHead
from r2talker.ops.camera_rays.op import background_coords
from r2talker.ops.cuda.kernels import missing
from r2talker.ops.render_head.cuda import HeadPainter, view_words
from r2talker.ops.render_head.cuda import fits as head_fits
from r2talker.ops.render_torso.cuda import TorsoPainter
from r2talker.ops.render_torso.cuda import fits as torso_fits
from r2talker.render.config import RenderSettings
from r2talker.render.networks import networks, torso_networks
from r2talker.render.rays import marching_rules
from r2talker.types import Camera


def fused_runs(model: TalkingHead, device: torch.device) -> bool:
    """Whether this model can be drawn by kernels on `device`."""
    torso = model.torso is None or torso_fits(torso_networks(model.torso))
    return missing(device) is None and head_fits(networks(model.head)) and torso


class FusedDrawing:
    """Draws into a ring of buffers, [batch, H, W, 3] bytes each; nothing waits for the device.

    The first batch of a size into a buffer is recorded as a graph, the later ones are replays.
    """

    def __init__(
        self,
        model: TalkingHead,
        settings: RenderSettings,
        camera: Camera,
        background: UInt8[Tensor, "height width 3"],
        ring: list[UInt8[Tensor, "batch height width 3"]],
    ) -> None:
        batch, height, width, device = len(ring[0]), camera.height, camera.width, background.device
        self.model, self.ring = model, ring
        self.individual = model.head.individual_codes[0].detach().clone()
        self.head = HeadPainter.load(networks(model.head), height, width, batch, rounds=settings.budget == "rounds")
        self.head.see(marching_rules(settings), model.occupancy.bitfield)
        rgb = background.reshape(-1, 3).half() / 255
        plate = torch.cat([rgb, torch.zeros_like(rgb[:, :1])], dim=1).contiguous()
        self.behind = plate.expand(batch, -1, -1).contiguous()
        self.torso: TorsoPainter | None = None
        if model.torso is not None:
            coords = background_coords(height, width).to(device)
            covered = torch.nonzero(model.torso_occupancy.covers(coords, settings.torso_alpha_threshold)).flatten()
            self.torso = TorsoPainter.load(torso_networks(model.torso), covered, plate, height, width, batch)
            self.torso_code = model.torso.individual_codes[0].detach().clone()
        self.codes = torch.zeros(batch, self.head.net.code_width, device=device)
        self.eye = torch.zeros(batch, device=device)
        self.views = view_words(camera.c2w.to(device).expand(batch, 4, 4), camera)
        self.opacity = torch.zeros(batch, height * width, device=device)
        self.depth = torch.zeros(batch, height * width, device=device)
        self._graphs: dict[tuple[int, int], torch.cuda.CUDAGraph] = {}

    def draw(
        self, turn: int, codes: Float[Tensor, "frames code"], eye: Float[Tensor, " frames"], c2w: Float[Tensor, "frames 4 4"]
    ) -> UInt8[Tensor, "frames height width 3"]:
        """Pictures in the ring's buffer number `turn`."""
        count = len(codes)
        self.codes[:count], self.eye[:count] = codes, self.model.head.eye_input(eye)
        self.views[:count, :12] = c2w[:, :3].reshape(-1, 12)
        graph = self._graphs.get((turn, count))
        if graph is None:
            self._paint(turn, count)
            graph = self._graphs[turn, count] = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                self._paint(turn, count)
        graph.replay()
        return self.ring[turn][:count]

    def evaluated_samples(self) -> float:
        """Samples of the last batch's frames at which the networks were evaluated, mean over frames; waits for the device."""
        return float(self.head.counters[:, 2].float().mean())

    def _paint(self, turn: int, count: int) -> None:
        views, behind = self.views[:count], self.behind[:count]
        if self.torso is not None:
            self.torso.paint(views, self.torso_code, behind)
        self.head.paint(
            self.codes[:count],
            self.eye[:count],
            self.individual,
            views,
            behind,
            self.ring[turn][:count],
            self.opacity,
            self.depth,
        )
