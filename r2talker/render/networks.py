"""The tensors of a model's networks, by the names that the fused passes give them."""

from r2talker.model.ambient import AmbientConditioning
from r2talker.model.head import Head
from r2talker.model.torso import Torso
from r2talker.ops.render_head.networks import AmbientNetworks, HeadNetworks
from r2talker.ops.render_torso.networks import TorsoNetworks


def networks(head: Head) -> HeadNetworks:
    """The tensors of a head, by the names of `r2talker.ops.render_head`."""
    first, second, third = (layer.weight for layer in head.sigma_net.layers)
    color, rgb = (layer.weight for layer in head.color_net.layers)
    conditioning, ambient = head.conditioning, None
    if isinstance(conditioning, AmbientConditioning):
        a, b, c = (layer.weight for layer in conditioning.ambient_net.layers)
        grid = conditioning.ambient_grid
        ambient = AmbientNetworks(grid.layout, grid.embeddings, a, b, c)
    grid = head.position_grid
    return HeadNetworks(
        grid.layout, grid.embeddings, first, second, third, color, rgb, ambient, film=ambient is None, eye=head.config.eye
    )


def torso_networks(torso: Torso) -> TorsoNetworks:
    """The tensors of a torso, by the names of `r2talker.ops.render_torso`."""
    deform = [layer.weight for layer in torso.deform_net.layers]
    color = [layer.weight for layer in torso.color_net.layers]
    return TorsoNetworks(torso.grid.layout, torso.grid.embeddings, *deform, *color, shrink=torso.config.shrink)
