"""The neck: a bent tube that hangs from the head at its upper end and stands on the torso at its lower end."""

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from r2talker.subject.backdrop import torso_points
from r2talker.subject.config import SubjectConfig
from r2talker.subject.paint import SKIN, mix, smooth_noise, step
from r2talker.subject.splat import Grid, Texture, choose_factor, enlarge

ROWS, COLUMNS = 56, 110


class Neck:
    """Rows run from the torso up into the head, columns to the right."""

    def __init__(self, config: SubjectConfig) -> None:
        factor = choose_factor(0.0030, config.focal)
        around, up = np.meshgrid(np.linspace(-1.75, 1.75, COLUMNS, dtype=np.float32), np.linspace(0, 1, ROWS, dtype=np.float32))
        self._up = up
        waist = 1 - 0.10 * np.sin(np.pi * np.clip(up * 1.15, 0, 1))
        wide = (0.061 + (0.049 - 0.061) * up) * waist + 0.030 * np.clip(0.22 - up, 0, 1) ** 1.5
        deep = 0.058 + (0.046 - 0.058) * up
        muscle = (
            1
            + 0.05 * np.exp(-(((np.abs(around) - 0.55 - 0.5 * up) / 0.16) ** 2))
            - 0.05 * np.exp(-((around / 0.16) ** 2)) * step(up, 0.5, 0.1)
        )
        height = -0.215 + (0.190 * up)
        middle = -0.040 + 0.020 * up
        self._rest = np.stack([wide * muscle * np.sin(around), height, middle + deep * muscle * np.cos(around)], -1).astype(
            np.float32
        )
        self._shadow = (0.30 + 0.70 * step(up, 0.80, 0.20)) * (0.75 + 0.25 * step(np.abs(around), 1.6, 0.7))
        self._shadow = self._shadow.astype(np.float32)
        dense = enlarge(np.stack([around, up], -1), factor)
        angle, level = dense[..., 0].ravel(), dense[..., 1].ravel()
        noise = smooth_noise(dense.shape[:2], (12, 18), 21).ravel() * 0.03
        tone = SKIN[config.skin] * np.array([0.97, 0.90, 0.87], np.float32)
        albedo = tone * (1 + noise)[:, None]
        crease = np.exp(-(((level - 0.42 - 0.06 * angle**2) / 0.010) ** 2)) * step(np.abs(angle), 1.2, 0.4)
        albedo = mix(albedo, tone * 0.7, 0.22 * crease)
        self.texture = Texture(factor, np.arange(len(level)), albedo.astype(np.float32), np.full(len(level), 0.06, np.float32))

    def place(
        self, head: Float[ndarray, "4 4"], torso: tuple[float, float, float]
    ) -> tuple[Grid, Float[ndarray, "rows columns"]]:
        """Camera-space points and the light that reaches them."""
        upper = self._rest @ head[:3, :3].T.astype(np.float32) + head[:3, 3].astype(np.float32)
        lower = torso_points(self._rest, torso)
        follow = step(self._up, 0.05, 0.85)[..., None]
        return (lower + follow * (upper - lower)).astype(np.float32), self._shadow
