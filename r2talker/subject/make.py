"""Makes a clip of the procedural person: pictures, voice and truth."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from r2talker.media.write import VideoWriter
from r2talker.progress import Progress, Silent
from r2talker.subject.config import AUDIO_RATE, FPS, SubjectConfig
from r2talker.subject.face import Expression
from r2talker.subject.landmarks import Landmarks
from r2talker.subject.motion import Motion, move
from r2talker.subject.person import Moment, Person, Picture
from r2talker.subject.truth import SubjectTruth, eye_ratio, project, save_truth, to_ngp
from r2talker.subject.voice import Speech, synthesise_speech

VIDEO_FILE = "subject.mp4"
THREADS = 2
_DEFAULT, _SILENT = SubjectConfig(), Silent()


@dataclass(frozen=True)
class Subject:
    """A clip on disk and what is known about it."""

    video: Path
    truth: SubjectTruth


def make_subject(folder: Path, config: SubjectConfig = _DEFAULT, progress: Progress = _SILENT) -> Subject:
    """Write `<folder>/subject.mp4` with its voice, and `<folder>/truth.npz`; equal settings give equal pictures.

    Raises R2TalkerError when the folder cannot be written.
    """
    folder = Path(folder)
    speech = synthesise_speech(config.seconds, config.seed, pitch=config.pitch)
    motion = move(config)
    landmarks = Landmarks()
    moments = make_moments(speech, motion, landmarks.shift)
    labels = []
    progress.begin("subject", len(moments))
    video = folder / VIDEO_FILE
    with VideoWriter(
        video, width=config.size, height=config.size, fps=FPS, audio=speech.samples, audio_rate=AUDIO_RATE
    ) as writer:
        for done, picture in enumerate(draw_pictures(Person(config), moments), start=1):
            writer.write(picture.rgb)
            if config.masks:
                labels.append(picture.labels)
            progress.advance(done)
    stacked = np.stack(labels) if labels else np.zeros((0, config.size, config.size), np.uint8)
    truth = measure(config, speech, motion, landmarks, moments, stacked)
    save_truth(folder, truth)
    progress.end(f"{video}: {len(moments)} pictures of a procedural person, {config.size}x{config.size}")
    return Subject(video=video, truth=truth)


def make_moments(speech: Speech, motion: Motion, shift: float) -> list[Moment]:
    """Join voice and movement; `shift` is the depth between modelled points and the head frame (`Landmarks.shift`)."""
    moments = []
    for frame, head in enumerate(motion.head):
        shifted = head.copy()
        shifted[:3, 3] += head[:3, 2] * shift
        shut = float(motion.blink[frame])
        expression = Expression(
            open=float(speech.articulation.open[frame]),
            width=float(speech.articulation.width[frame]),
            press=float(speech.articulation.press[frame]),
            blink=(shut, shut),
            brow=float(motion.brow[frame]),
        )
        torso, gaze = motion.torso[frame], motion.gaze[frame]
        moments.append(
            Moment(expression, shifted, (float(torso[0]), float(torso[1]), float(torso[2])), (float(gaze[0]), float(gaze[1])))
        )
    return moments


def draw_pictures(person: Person, moments: list[Moment]) -> Iterator[Picture]:
    """Pictures in order, drawn by THREADS threads that stay only a few pictures ahead."""
    with ThreadPoolExecutor(THREADS) as pool:
        waiting: deque[Future[Picture]] = deque()
        for moment in moments:
            waiting.append(pool.submit(person.draw, moment))
            if len(waiting) > 2 * THREADS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def measure(
    config: SubjectConfig, speech: Speech, motion: Motion, points: Landmarks, moments: list[Moment], labels: np.ndarray
) -> SubjectTruth:
    """Everything that `truth.npz` holds."""
    landmarks = np.stack([points.place(moment.expression) for moment in moments])
    pixels = project(landmarks, motion.head, config.focal, config.size)
    transform = np.linalg.inv(motion.head)

    def distance(first: int, second: int) -> np.ndarray:
        return np.linalg.norm(landmarks[:, first] - landmarks[:, second], axis=-1)

    lids = [0.5 * (distance(37, 41) + distance(38, 40)), 0.5 * (distance(43, 47) + distance(44, 46))]
    return SubjectTruth(
        size=config.size,
        focal=config.focal,
        c2w=to_ngp(transform),
        transform_matrix=transform,
        landmarks=landmarks,
        landmarks_2d=pixels,
        rest_landmarks=points.place(Expression()),
        mouth_opening=distance(62, 66),
        lip_width=distance(48, 54),
        eye_opening=np.stack(lids, -1),
        eye_ratio=eye_ratio(pixels, config.size),
        open=speech.articulation.open,
        width=speech.articulation.width,
        press=speech.articulation.press,
        blink=motion.blink,
        brow=motion.brow,
        gaze=motion.gaze,
        torso=motion.torso,
        phones=np.array(speech.phones),
        phone_starts=speech.starts,
        labels=labels,
    )
