"""Head, torso and their occupancy grids as one module: the state that training leaves and rendering loads."""

from dataclasses import dataclass, replace

from torch import nn

from r2talker.compatibility import FilmOrder
from r2talker.model.head import Head, HeadConfig
from r2talker.model.method import ConditioningShape, Method
from r2talker.model.occupancy import OccupancyGrid, TorsoOccupancy
from r2talker.model.parameters import ParameterGroup
from r2talker.model.torso import Torso, TorsoConfig
from r2talker.ops.grid_encode.layout import GridLayout


@dataclass(frozen=True)
class ModelConfig:
    """Exact shapes of an avatar's networks. feature_width: columns of an audio feature row, 0 when landmarks drive. film: see
    `Compatibility`."""

    head: HeadConfig
    condition_grid: GridLayout
    torso: TorsoConfig | None = None
    feature_width: int = 0
    film: FilmOrder = "shift first"


class TalkingHead(nn.Module):
    """All trained tensors of an avatar's picture."""

    def __init__(self, config: ModelConfig, method: Method) -> None:
        super().__init__()
        self.config = config
        self.method = method
        layout = config.head.position_grid
        shape = ConditioningShape(config.feature_width, layout.features, config.condition_grid, config.film)
        self.head = Head(config.head, method.build(shape))
        self.torso = Torso(config.torso) if config.torso is not None else None
        self.occupancy = OccupancyGrid()
        self.torso_occupancy = TorsoOccupancy()

    @property
    def drives_landmarks(self) -> bool:
        """Whether landmarks (rather than audio features) move the face."""
        return self.method.drive.kind == "landmarks"

    def take_eye_unit(self, unit: float, usual: float) -> None:
        """See `Head.take_eye_unit`."""
        self.head.take_eye_unit(unit, usual)
        self.config = replace(self.config, head=self.head.config)

    def head_groups(self, grid_rate: float, net_rate: float) -> list[ParameterGroup]:
        """Grids at `grid_rate`, networks at `net_rate` times the method's factor (upstream.md 4.7)."""
        return self._groups("head", self.head, grid_rate, net_rate)

    def torso_groups(self, grid_rate: float, net_rate: float) -> list[ParameterGroup]:
        """As `head_groups`, for the torso."""
        assert self.torso is not None
        return self._groups("torso", self.torso, grid_rate, net_rate)

    def _groups(self, name: str, module: nn.Module, grid_rate: float, net_rate: float) -> list[ParameterGroup]:
        groups: dict[float, list[nn.Parameter]] = {}
        for key, parameter in module.named_parameters():
            rate = (grid_rate if key.endswith("embeddings") else net_rate) * self._factor(key)
            groups.setdefault(rate, []).append(parameter)
        return [ParameterGroup(f"{name} at {rate:g}", parameters, rate) for rate, parameters in groups.items()]

    def _factor(self, key: str) -> float:
        inner = key.removeprefix("conditioning.")
        return next((factor for prefix, factor in self.method.rates.items() if inner.startswith(prefix)), 1.0)
