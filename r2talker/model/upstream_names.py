"""Upstream state_dict names of the parameters that methods share (upstream.md 4.6), and what they tell."""

from collections.abc import Mapping

HEAD_KEYS = {
    "head.position_grid": "encoder",
    "head.sigma_net.layers": "sigma_net.net",
    "head.color_net.layers": "color_net.net",
    "head.individual_codes": "individual_codes",
}

TORSO_KEYS = {
    "torso.grid": "torso_encoder",
    "torso.deform_net.layers": "torso_deform_net.net",
    "torso.color_net.layers": "torso_net.net",
    "torso.individual_codes": "individual_codes_torso",
}

OCCUPANCY_KEYS = {
    "occupancy.density": "density_grid",
    "occupancy.bitfield": "density_bitfield",
    "torso_occupancy.alpha": "density_grid_torso",
}

AMBIENT_KEYS = {
    **{f"frame_encoder.convolutions.{i}": f"audio_net.encoder_conv.{2 * i}" for i in range(4)},
    **{f"frame_encoder.linears.{i}": f"audio_net.encoder_fc1.{2 * i}" for i in range(2)},
    **{f"attention.convolutions.{i}": f"audio_att_net.attentionConvNet.{2 * i}" for i in range(5)},
    "attention.linear": "audio_att_net.attentionNet.0",
    "ambient_net.layers": "ambient_net.net",
    "ambient_grid": "encoder_ambient",
}

LANDMARK_COLUMNS = 204
"""Columns that an audio network hears which is fed with 68 landmarks."""


def heard_columns(shapes: Mapping[str, tuple[int, ...]]) -> int | None:
    """Columns that a checkpoint's audio network hears, by its first convolution; 0 where that is missing, None without such a network."""
    if not any(key.startswith("audio_net.") for key in shapes):
        return None
    shape = shapes.get("audio_net.encoder_conv.0.weight", ())
    return shape[1] if len(shape) == 3 else 0


def window_length(shapes: Mapping[str, tuple[int, ...]]) -> int | None:
    """Frames that a checkpoint's attention looks at, None without one."""
    shape = shapes.get("audio_att_net.attentionNet.0.weight", ())
    return shape[0] if len(shape) == 2 else None


def upstream_name(key: str, conditioning: dict[str, str]) -> str | None:
    """Upstream's name of one of our tensors, or None for tensors that upstream does not store.

    conditioning: the method's `keys`.
    """
    prefixes = {
        **HEAD_KEYS,
        **TORSO_KEYS,
        **OCCUPANCY_KEYS,
        **{f"head.conditioning.{own}": name for own, name in conditioning.items()},
    }
    for own, name in prefixes.items():
        if key == own or key.startswith(f"{own}."):
            return name + key.removeprefix(own)
    return None
