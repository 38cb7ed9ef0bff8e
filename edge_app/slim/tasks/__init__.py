"""What a head can learn: one file each, with its layers, targets, loss and metric. Needs torch.

detect.py    boxes and classes, decoded by the family `digits`
classify.py  one class for the whole image
segment.py   a class for each cell
embed.py     a vector that is close to those of the same class
"""

from __future__ import annotations

from edge_app.slim.backbones._blocks import Channels
from edge_app.slim.recipe import HeadRecipe, Task
from edge_app.slim.tasks import classify, detect, embed, segment
from edge_app.slim.tasks._common import Objective, TaskHead

OBJECTIVES: dict[str, type[Objective]] = {  # by the family of the runtime's decoder
    each.FAMILY: each for each in (detect.Detection, classify.Classification, segment.Segments, embed.Likeness)
}
TASKS: dict[str, Task] = {"digits": "detect", "classify": "classify", "segment": "segment", "embed": "embed"}
_HEADS: dict[str, type[TaskHead]] = {
    "detect": detect.Head,
    "classify": classify.Head,
    "segment": segment.Head,
    "embed": embed.Head,
}


def build(recipe: HeadRecipe, channels: Channels, labels: tuple[str, ...]) -> TaskHead:
    """The head of a recipe. channels: of the backbone's maps."""
    return _HEADS[recipe.task](recipe, channels, labels)
