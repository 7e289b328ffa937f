"""Pictures inside a page, as small JPEGs in its text."""

import base64

import cv2
import numpy as np
from jaxtyping import UInt8

SIDE = 232
"""Pixels of a picture's longer side on a page."""

_QUALITY = 78


def embed(picture: UInt8[np.ndarray, "height width 3"], side: int = SIDE) -> str:
    """An RGB picture as the `src` of an `<img>`, its longer side scaled to `side` pixels."""
    height, width = picture.shape[:2]
    scale = side / max(height, width)
    to = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(picture, to, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    content = cv2.imencode(".jpg", np.ascontiguousarray(small[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
    return f"data:image/jpeg;base64,{base64.b64encode(content.tobytes()).decode()}"


def draw_figure(picture: UInt8[np.ndarray, "height width 3"], text: str, caption: str) -> str:
    """A `<figure>`: an RGB picture, what it shows for those who do not see it, and what stands below (HTML)."""
    return f'<figure><img src="{embed(picture)}" alt="{text}"><figcaption>{caption}</figcaption></figure>'
