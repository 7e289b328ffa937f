"""What the page and the server say to each other: JSON text messages for words, binary messages for sound and pictures.

A text message is an object whose `type` names a class below and whose other fields are those of the class. `schema` describes
all of them; the page holds a copy, which a test compares.

Binary to the server: PCM16 little-endian mono 16 kHz of the microphone. Binary to the page: `HEADER` and a payload, 40 ms as PCM16
or an Opus packet for SOUND, an H.264 access unit (Annex B) or a JPEG for PICTURE.
"""

import json
import math
import struct
from dataclasses import MISSING, asdict, dataclass, field, fields
from types import NoneType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from r2talker.errors import R2TalkerError

HEADER = struct.Struct("<BBHHHIi")
"""Kind, flags, width, height, zero, number of the frame, number of the microphone sample it speaks (-1: none)."""
SOUND, PICTURE = 1, 2
KEY, JPEG = 1, 2
"""Flags of a picture: it needs no other; it is a JPEG."""
OPUS = 4
"""Flag of sound: it is an Opus packet, whose decoded sound comes 6.5 ms late."""

Kind = Literal["image", "depth", "normal", "alpha"]
SoundCodec = Literal["pcm", "opus"]


@dataclass(frozen=True)
class Look:
    """To the server: what to see, whole, whenever something of it changes.

    size: side in pixels, 0 for the largest that keeps up. background: of the clip, a colour, or the picture that was uploaded.
    pose: the tracked frame to hold, -1 for a living head. replay: the clip's poses one after the other instead. face: what the sound
    moves, or the clip's own at the frame that is held or replayed. yaw, pitch: degrees by which the camera orbits. pan_x, pan_y: pixels of
    a picture of side 1. zoom: steps of 1.1. fov: vertical field of view in degrees, 0 for the clip's. eye: opening in percent of
    the picture, -1 for the clip's. code: individual code. max_steps: samples per ray. aabb: box that is drawn, minima and maxima.
    max_spp: jittered renderings that a picture is the mean of while nothing moves. landmarks: draw what drives the face over it.
    """

    kind: Kind = "image"
    size: int = 0
    background: Literal["clip", "colour", "picture"] = "clip"
    colour: str = "#ffffff"
    pose: int = -1
    replay: bool = False
    face: Literal["spoken", "clip"] = "spoken"
    yaw: float = 0.0
    pitch: float = 0.0
    pan_x: float = 0.0
    pan_y: float = 0.0
    zoom: float = 0.0
    fov: float = 0.0
    eye: float = -1.0
    code: int = 0
    max_steps: int = 16
    dt_gamma: float = 1 / 256
    aabb: list[float] = field(default_factory=lambda: [-1.0, -0.5, -1.0, 1.0, 0.5, 1.0])
    max_spp: int = 1
    landmarks: bool = False


@dataclass(frozen=True)
class Codec:
    """To the server: how pictures and sound are to be sent."""

    name: Literal["h264", "jpeg"] = "h264"
    sound: SoundCodec = "pcm"


@dataclass(frozen=True)
class Microphone:
    """To the server: the microphone's sound begins or ends."""

    open: bool = False


@dataclass(frozen=True)
class Interrupt:
    """To the server: fall silent."""


@dataclass(frozen=True)
class Blink:
    """To the server: close the eyes once."""


@dataclass(frozen=True)
class Record:
    """To the server: start or stop recording."""

    on: bool = False


@dataclass(frozen=True)
class Switch:
    """To the server: continue with another avatar."""

    avatar: str = ""


@dataclass(frozen=True)
class Played:
    """To the server, some times a second: what the listener hears and sees.

    position: sample of the timeline that is heard now, -1 without sound. buffered, wanted: seconds of sound. delays: milliseconds
    from the middle of a microphone frame to its picture, since the last message. shown, missed: pictures since the last message,
    drawn and come too late.
    """

    position: float = -1.0
    buffered: float = 0.0
    wanted: float = 0.0
    delays: list[float] = field(default_factory=list)
    shown: int = 0
    missed: int = 0


@dataclass(frozen=True)
class Train:
    """To the server, of a training run: pause, go on, save now, or begin the phase anew with the weights that it began with."""

    action: Literal["pause", "resume", "save", "reset"] = "save"


@dataclass(frozen=True)
class Welcome:
    """To the page: what it deals with, at the beginning and after a switch.

    look_ahead: seconds of sound that a frame waits for. sizes: sides that can be asked for. poses, codes: how many there are.
    fov: the clip's. clip_faces: whether the clip's own faces can be shown. talks: whether there is somebody to talk to, or a training
    run to watch.
    """

    session: str
    avatar: str
    avatars: list[str]
    size: int
    sizes: list[int]
    poses: int
    codes: int
    fov: float
    eye: float
    max_steps: int
    aabb: list[float]
    look_ahead: float
    clip_faces: bool = False
    talks: bool = True
    speaks_text: bool = False


@dataclass(frozen=True)
class Report:
    """To the page, twice a second: state, pictures drawn per second, side, pictures dropped, delay in milliseconds, queues."""

    state: Literal["idle", "listening", "speaking"]
    fps: float
    size: int
    dropped: int
    delay_p50: float
    delay_p95: float
    queues: dict[str, float]
    recording: bool = False


@dataclass(frozen=True)
class Interrupted:
    """To the page: sound of frames before `number` is not to be heard any more."""

    number: int


@dataclass(frozen=True)
class Recorded:
    """To the page: where the recording can be fetched."""

    url: str
    seconds: float


@dataclass(frozen=True)
class Training:
    """To the page: where a training run stands. curve: (step, value) pairs of the loss."""

    phase: str
    step: int
    steps: int
    paused: bool
    scalars: dict[str, float]
    curve: list[list[float]]


@dataclass(frozen=True)
class Refused:
    """To the page: what was wrong with what it sent."""

    message: str


FROM_PAGE: tuple[type, ...] = (Look, Codec, Microphone, Interrupt, Blink, Record, Switch, Played, Train)
TO_PAGE: tuple[type, ...] = (Welcome, Report, Interrupted, Recorded, Training, Refused)
Message = TypeVar("Message")


def name_of(kind: type) -> str:
    """How a message of this class is called in its `type`."""
    return kind.__name__.lower()


def encode(message: Any) -> str:
    """A message as JSON text."""
    return json.dumps({"type": name_of(type(message)), **asdict(message)}, separators=(",", ":"))


def decode(text: str) -> Any:
    """A message of the page; R2TalkerError names the field that is missing, unknown or of another kind."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise R2TalkerError("a text message must be JSON; see the schema at /v1/schema") from error
    if not isinstance(content, dict):
        raise R2TalkerError("a text message must be a JSON object with a type; see the schema at /v1/schema")
    named = content.pop("type", None)
    kind = next((kind for kind in FROM_PAGE if name_of(kind) == named), None)
    if kind is None:
        raise R2TalkerError(f"there is no message of type {str(named)[:40]!r}; see the schema at /v1/schema")
    hints = get_type_hints(kind)
    unknown = sorted(set(content) - set(hints))
    if unknown:
        raise R2TalkerError(f"{named} has no field {unknown[0][:40]!r}; see the schema at /v1/schema")
    for key, value in content.items():
        if not _fits(value, hints[key]):
            raise R2TalkerError(f"{named}.{key} must be {describe(hints[key])}; see the schema at /v1/schema")
    return kind(**content)


def schema() -> dict[str, dict[str, dict[str, str]]]:
    """Every message by direction and type: its fields and their kinds, as the page knows them."""
    return {
        direction: {
            name_of(kind): {item.name: describe(get_type_hints(kind)[item.name]) for item in fields(kind)} for kind in kinds
        }
        for direction, kinds in (("fromPage", FROM_PAGE), ("toPage", TO_PAGE))
    }


def defaults(kind: type) -> dict[str, Any]:
    """Default values of a message's fields, of those that have one."""
    values = {item.name: item.default for item in fields(kind) if item.default is not MISSING}
    made = {item.name: item.default_factory() for item in fields(kind) if item.default_factory is not MISSING}
    return {**values, **made}


def describe(hint: Any) -> str:
    """A field's kind in words of JSON."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return " | ".join(json.dumps(value) for value in arguments)
    if origin is list:
        return f"{describe(arguments[0])}[]"
    if origin is dict:
        return f"{{{describe(arguments[1])}}}"
    return {str: "string", bool: "boolean", int: "integer", float: "number", NoneType: "null"}[hint]


def _fits(value: Any, hint: Any) -> bool:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return isinstance(value, str) and value in arguments
    if origin is list:
        return isinstance(value, list) and len(value) <= 1000 and all(_fits(item, arguments[0]) for item in value)
    if hint is bool or isinstance(value, bool):
        return hint is bool and isinstance(value, bool)
    if hint is float:
        return isinstance(value, int | float) and abs(value) < 1e12 and math.isfinite(value)
    if hint is int:
        return isinstance(value, int) and abs(value) < 1 << 31
    return isinstance(value, hint) and len(value) <= 1000
