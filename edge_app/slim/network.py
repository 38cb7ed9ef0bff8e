"""One backbone and any number of heads, as a torch module. Needs torch."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from edge_app.errors import ConfigError
from edge_app.slim import backbones, tasks
from edge_app.slim.recipe import Recipe
from edge_app.slim.tasks._common import TaskHead

MAPS = ("c8", "c16", "c32")


class Network(nn.Module):
    """image (N, 3, H, W) float32 RGB 0..1 -> the outputs of heads by name."""

    def __init__(self, recipe: Recipe, labels: Mapping[str, tuple[str, ...]]) -> None:
        """labels: of each head."""
        super().__init__()
        self.backbone = backbones.build(recipe.backbone, recipe.width)
        channels = self.backbone.channels
        self.heads = nn.ModuleDict(
            {name: tasks.build(head, channels, labels[name]) for name, head in recipe.heads.items()}
        )

    def head(self, name: str) -> TaskHead:
        head: TaskHead = self.heads[name]
        return head

    def run(self, name: str, image: Tensor) -> tuple[Tensor, ...]:
        """The outputs of one head."""
        head, maps = self.head(name), dict(zip(MAPS, self.backbone(image)))
        outputs: tuple[Tensor, ...] = head(*(maps[each] for each in head.MAPS))
        return outputs

    def forward(self, image: Tensor) -> dict[str, tuple[Tensor, ...]]:
        maps = dict(zip(MAPS, self.backbone(image)))
        return {name: head(*(maps[each] for each in head.MAPS)) for name, head in self.heads.items()}

    def published(self) -> list[nn.Module]:
        """The last layers of the heads: their channels are the outputs'."""
        return [getattr(self.head(name), last) for name in self.heads for last in self.head(name).LAST]

    def check_prunable(self) -> None:
        """Raise ConfigError if torch-pruning cannot follow the channels of the backbone."""
        if not self.backbone.PRUNABLE:
            raise ConfigError("prune: this backbone interleaves its channels; expected a backbone without a shuffle")

    def used_maps(self) -> tuple[str, ...]:
        """The maps that a head takes."""
        return tuple(each for each in MAPS if any(each in self.head(name).MAPS for name in self.heads))
