"""Pictures of folders that lack some of ours: AD-NeRF's have neither `gt_imgs` nor `torso_imgs`."""

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from r2talker.data.folder import DatasetFolder
from r2talker.data.picture_files import decode

_BACKGROUND, _HEAD = (255, 255, 255), (255, 0, 0)


def lacks_torsos(root: Path) -> bool:
    """Whether torsos have to be cut out of the pictures."""
    return not DatasetFolder(root).torso(0).parent.exists()


def read_truth(folder: DatasetFolder, number: int) -> UInt8[np.ndarray, "height width 3"]:
    """BGR picture over the clean plate: `gt_imgs`, AD-NeRF's `com_imgs`, or made of frame, parsing and plate."""
    if folder.ground_truth(number).parent.exists():
        return decode(folder.ground_truth(number), cv2.IMREAD_COLOR)
    composed = folder.root / "com_imgs" / f"{number}.jpg"
    if composed.parent.exists():
        return decode(composed, cv2.IMREAD_COLOR)
    frame, parsing = decode(folder.frame(number), cv2.IMREAD_COLOR), decode(folder.parsing(number), cv2.IMREAD_COLOR)
    outside = (parsing == np.array(_BACKGROUND, np.uint8)).all(-1, keepdims=True)
    return np.where(outside, decode(folder.background, cv2.IMREAD_COLOR), frame)


def read_torso(folder: DatasetFolder, number: int) -> UInt8[np.ndarray, "height width 4"]:
    """BGRA picture of torso and neck: `torso_imgs`, or cut out of the truth by the parsing (then not continued under the head)."""
    if not lacks_torsos(folder.root):
        return decode(folder.torso(number), cv2.IMREAD_UNCHANGED)
    truth, parsing = read_truth(folder, number), decode(folder.parsing(number), cv2.IMREAD_COLOR)
    others = [(parsing == np.array(colour, np.uint8)).all(-1) for colour in (_BACKGROUND, _HEAD)]
    alpha = np.where(others[0] | others[1], 0, 255).astype(np.uint8)
    return np.dstack([np.where(alpha[..., None] > 0, truth, 0), alpha])
