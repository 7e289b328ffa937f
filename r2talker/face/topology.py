"""Names for vertices of MediaPipe's 478-point face mesh ("left" is the left side of the picture; vertices 468-477 are irises).

Vertex numbers: the published face mesh map of MediaPipe (Kartynnik et al. 2019, "Real-time Facial Surface Geometry from
Monocular Video on Mobile GPUs"); the 68 points are those of iBUG 300-W (Sagonas et al. 2013).
"""

import numpy as np
from jaxtyping import Float

MESH_POINTS = 478
FACE_POINTS = 468
"""Vertices before this one are the face's, the rest the irises'."""

MESH_TO_68 = (
    # Jaw from the left ear over the chin (8) to the right ear.
    *(127, 234, 93, 132, 58, 136, 149, 148, 152, 377, 378, 365, 288, 361, 323, 454, 356),
    # Brows.
    *(70, 63, 105, 66, 107, 336, 296, 334, 293, 300),
    # Nose: bridge downwards, then the lower edge.
    *(168, 197, 5, 4, 98, 97, 2, 326, 327),
    # Eyes, each from its left corner over the upper lid.
    *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),
    # Outer lip from the left corner over the upper lip, then the inner lip.
    *(61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181),
    *(78, 81, 13, 311, 308, 402, 14, 178),
)
"""Mesh vertex of each iBUG landmark."""

_RIGHT_OUTLINE = (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377)
_LEFT_OUTLINE = (152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109)
FACE_OVAL = _RIGHT_OUTLINE + _LEFT_OUTLINE
"""Outline of the face, from the middle of the forehead over the right side and the chin (152)."""

IRISES = (468, 473)
"""Middle of each iris; four points of its rim follow it."""
EYE_CORNERS = ((33, 133), (362, 263))
"""Left and right corner of each eye."""
LID_MIDDLES = ((159, 145), (386, 374))
"""Middle of the upper and of the lower lid of each eye."""

FOREHEAD_TOP, CHIN = 10, 152
NOSE_ROOT, NOSE_TIP, NOSE_BASE = 168, 4, 2
OUTER_EYE_CORNERS = (33, 263)
LEFT_EYE = (33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7)
RIGHT_EYE = (362, 398, 384, 385, 386, 387, 388, 466, 263, 249, 390, 373, 374, 380, 381, 382)
BROWS = ((70, 63, 105, 66, 107, 55, 65, 52, 53, 46), (336, 296, 334, 293, 300, 276, 283, 282, 295, 285))
OUTER_LIPS = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146)
INNER_UPPER_LIP = (191, 80, 81, 82, 13, 312, 311, 310, 415)
INNER_LOWER_LIP = (95, 88, 178, 87, 14, 317, 402, 318, 324)
OUTER_UPPER_LIP = (185, 40, 39, 37, 0, 267, 269, 270, 409)
OUTER_LOWER_LIP = (375, 321, 405, 314, 17, 84, 181, 91, 146)
LIP_MIDDLES = (0, 13, 14, 17)
"""Middle of the upper lip's outer and inner border, of the lower lip's inner and outer border."""
MOUTH_CORNERS = (61, 291)

RIGID = (
    # Forehead, temples and the side of the face down to the ear.
    *(10, 151, 9, 8, 109, 108, 338, 337, 67, 69, 297, 299, 103, 104, 332, 333, 54, 68, 284, 298, 21, 71, 251, 301),
    *(162, 139, 389, 368, 127, 34, 356, 264, 234, 227, 454, 447, 143, 372, 156, 383),
    # Bridge, tip and flanks of the nose.
    *(168, 6, 197, 195, 5, 4, 122, 351, 196, 419, 3, 248, 193, 417, 245, 465, 188, 412, 174, 399, 217, 437),
    # Eye corners and the bone under the eyes.
    *(33, 133, 362, 263, 130, 359, 243, 463, 111, 340, 117, 346, 116, 345),
)
"""Vertices that speech and blinking hardly move."""


def mesh_to_68(mesh: Float[np.ndarray, "*frames vertices dims"]) -> Float[np.ndarray, "*frames 68 dims"]:
    """The iBUG landmarks of one mesh or of many, in the mesh's own units."""
    return mesh[..., MESH_TO_68, :]
