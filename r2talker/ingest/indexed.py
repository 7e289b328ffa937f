"""Pictures of few values as small PNG files, several pixels to a byte (PNG specification, ISO/IEC 15948, sections 5 and 7.2).

OpenCV writes eight bits a channel only: ten times the work of packing first, for files that every reader takes all the same.
"""

import zlib

import numpy as np
from jaxtyping import UInt8

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _PALETTE = 0, 3
_LEVEL = 6


def encode_indexed(values: UInt8[np.ndarray, "height width"], palette: UInt8[np.ndarray, "colours 3"]) -> bytes:
    """PNG whose pixels have the RGB colour `palette[value]`; at most 4 colours."""
    if len(palette) > 4:
        raise ValueError(f"encode_indexed: at most 4 colours, got {len(palette)}")
    return _encode(values, 2, _PALETTE, _chunk(b"PLTE", np.ascontiguousarray(palette).tobytes()))


def encode_levels(values: UInt8[np.ndarray, "height width"]) -> bytes:
    """Grey PNG of values 0 to 15; a reader of 8 bits gets 17 times the value, 255 for 15."""
    return _encode(values, 4, _GREY, b"")


def _encode(values: UInt8[np.ndarray, "height width"], bits: int, kind: int, before: bytes) -> bytes:
    height, width = values.shape
    together = 8 // bits
    packed = np.zeros((height, 1 + -(-width // together)), np.uint8)
    # The first byte of a row names its filter: none, which suits areas of one value.
    for place in range(together):
        column = values[:, place::together]
        packed[:, 1 : 1 + column.shape[1]] |= column << (8 - bits * (place + 1))
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([bits, kind, 0, 0, 0])
    content = _chunk(b"IDAT", zlib.compress(packed.tobytes(), _LEVEL))
    return _SIGNATURE + _chunk(b"IHDR", header) + before + content + _chunk(b"IEND", b"")


def _chunk(kind: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")
