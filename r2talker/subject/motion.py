"""How the person moves while talking: head, torso, gaze, blinks and brows, all smooth and drawn from one seed."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from r2talker.subject.backdrop import CAMERA
from r2talker.subject.config import FPS, SubjectConfig

# What the head turns about, in the head frame: the top of the neck.
PIVOT = np.array([0.0, -0.075, -0.020])
# Largest excursions: degrees, then metres.
YAW, PITCH, ROLL = 11.5, 5.5, 4.0
SHIFT = np.array([0.007, 0.004, 0.008])
# Shut, one picture after another: lids fall faster than they rise.
BLINK = np.array([0.45, 1.0, 0.95, 0.55, 0.2])


@dataclass(frozen=True)
class Motion:
    """head: head frame to camera space (x right, y up, looking along -z). torso: right, up (metres), roll (radians).

    gaze: yaw, pitch in radians in the head frame. blink: 0 open to 1 shut. brow: 0 to 1.
    """

    head: Float[ndarray, "frames 4 4"]
    torso: Float[ndarray, "frames 3"]
    gaze: Float[ndarray, "frames 2"]
    blink: Float[ndarray, " frames"]
    brow: Float[ndarray, " frames"]


def move(config: SubjectConfig) -> Motion:
    """The movements of a whole clip."""
    rng = np.random.default_rng([config.seed, 2])
    frames = config.frames
    sways = [_wander(frames, slowest, rng) for slowest in (0.30, 0.35, 0.28, 0.22, 0.30, 0.18)]
    turns = config.movement * np.stack(sways[:3], -1) * np.radians([YAW, PITCH, ROLL])
    shifts = config.movement * np.stack(sways[3:], -1) * SHIFT
    rotation = Rotation.from_euler("YXZ", turns).as_matrix()
    head = np.tile(np.eye(4), (frames, 1, 1))
    head[:, :3, :3] = rotation
    head[:, :3, 3] = PIVOT - rotation @ PIVOT + shifts - CAMERA
    # The torso follows a little, and a third of a second late; it also breathes.
    followed = np.stack([0.45 * shifts[:, 0], 0.35 * shifts[:, 1], 0.20 * turns[:, 2]], -1)
    torso = gaussian_filter1d(np.pad(followed, ((8, 0), (0, 0)), mode="edge")[:frames], 6, axis=0)
    torso[:, 1] += 0.0010 * config.movement * np.sin(2 * np.pi * 0.27 * np.arange(frames) / FPS)
    return Motion(head=head, torso=torso, gaze=_gaze(turns, rng), blink=_blinks(frames, rng), brow=_brows(frames, rng))


def _wander(frames: int, slowest: float, rng: np.random.Generator) -> Float[ndarray, " frames"]:
    """A smooth random curve between -1 and 1 with no frequency above 0.8 Hz (sum of sines with falling amplitudes)."""
    time = np.arange(frames) / FPS
    frequencies = slowest * np.array([0.45, 1.0, 1.6, 2.3]) * rng.uniform(0.85, 1.15, 4)
    waves = np.sin(2 * np.pi * frequencies * time[:, None] + rng.uniform(0, 2 * np.pi, 4))
    curve = waves @ np.array([0.8, 1.0, 0.45, 0.2])
    return curve / max(np.abs(curve).max(), 1e-6)


def _gaze(turns: Float[ndarray, "frames 3"], rng: np.random.Generator) -> Float[ndarray, "frames 2"]:
    """The eyes mostly stay with the camera, and jump aside now and then."""
    frames = len(turns)
    jumps = np.zeros((frames, 2))
    start = 0
    while start < frames:
        end = start + int(rng.uniform(0.6, 2.2) * FPS)
        jumps[start:end] = rng.normal(0, 0.030, 2) * np.array([1.0, 0.5])
        start = end
    return np.stack([-0.75 * turns[:, 0], 0.75 * turns[:, 1]], -1) + jumps


def _blinks(frames: int, rng: np.random.Generator) -> Float[ndarray, " frames"]:
    shut = np.zeros(frames + len(BLINK))
    start = int(rng.uniform(0.8, 1.6) * FPS)
    while start < frames:
        shut[start : start + len(BLINK)] = BLINK
        start += int(rng.uniform(2.0, 4.0) * FPS)
    return shut[:frames]


def _brows(frames: int, rng: np.random.Generator) -> Float[ndarray, " frames"]:
    raised = np.zeros(frames)
    start = int(rng.uniform(0.5, 2.0) * FPS)
    while start < frames:
        end = start + int(rng.uniform(0.35, 1.0) * FPS)
        raised[start:end] = rng.uniform(0.3, 1.0)
        start = end + int(rng.uniform(1.0, 3.0) * FPS)
    return gaussian_filter1d(raised, 2.5) + 0.06 * gaussian_filter1d(rng.standard_normal(frames), 4) * 4
