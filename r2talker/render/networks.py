"""The tensors of a model's networks, by the names that the fused passes give them."""

from torch import Tensor

from r2talker.model.ambient import AmbientConditioning
from r2talker.model.head import Head
from r2talker.model.mlp import MLP
from r2talker.model.torso import Torso
from r2talker.ops.render_head.networks import AmbientNetworks, HeadNetworks
from r2talker.ops.render_torso.networks import TorsoNetworks


def networks(head: Head) -> HeadNetworks:
    """The tensors of a head, by the names of `r2talker.ops.render_head`."""
    conditioning, ambient = head.conditioning, None
    if isinstance(conditioning, AmbientConditioning):
        grid = conditioning.ambient_grid
        ambient = AmbientNetworks(grid.layout, grid.embeddings, *_three(conditioning.ambient_net))
    grid = head.position_grid
    color, rgb = _weights(head.color_net)
    return HeadNetworks(
        grid.layout, grid.embeddings, *_three(head.sigma_net), color, rgb, ambient, film=ambient is None, eye=head.config.eye
    )


def torso_networks(torso: Torso) -> TorsoNetworks:
    """The tensors of a torso, by the names of `r2talker.ops.render_torso`."""
    grid, config = torso.grid, torso.config
    matrices = (*_three(torso.deform_net), *_three(torso.color_net))
    return TorsoNetworks(grid.layout, grid.embeddings, *matrices, config.shrink, config.follow)


def _three(net: MLP) -> tuple[Tensor, Tensor, Tensor]:
    first, second, third = _weights(net)
    return first, second, third


def _weights(net: MLP) -> list[Tensor]:
    return [layer.weight for layer in net.layers]  # type: ignore[misc]
