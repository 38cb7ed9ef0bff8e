"""Cross-checks between the parts of a model.yaml. Every mistake is added to the problems, with its line.

Not here: checks of single values (options/), the blocks (schema.py), the tensors of the graphs (inference/graphs.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import yaml

from edge_app import registry
from edge_app.backends import weights_file
from edge_app.errors import ConfigError
from edge_app.frame import Detections, Result
from edge_app.model.schema import File, FixedShape, Input
from edge_app.options.document import Problems, entries, nearest

_MAX_INPUT_PIXELS = 16_000_000


def image_input(spec: Input, where: str, node: yaml.Node, problems: Problems) -> None:
    """The image fits in the memory of any machine, no `std` is zero, and `crop_fraction` has an effect."""
    if spec.width * spec.height > _MAX_INPUT_PIXELS:
        expected = f"at most {_MAX_INPUT_PIXELS / 1e6:.0f} million pixels"
        problems.add(node, f"{where}: found {spec.width}x{spec.height}; expected {expected}")
    if 0 in spec.std:
        problems.add(node, f"{where}.std: found 0; expected other numbers")
    if spec.crop_fraction != 1 and spec.resize != "crop":
        problems.add(node, f"{where}.crop_fraction: found with resize: {spec.resize}; expected resize: crop")


def files(file: File, root: yaml.MappingNode, problems: Problems) -> None:
    """Every file is inside the folder and, if `sha256` is given, listed there. root: of the document."""
    graphs = [*(file.backbone.graphs if file.backbone else ()), *(h.graph for h in file.heads.values() if h.graph)]
    graphs += [segment.graph for head in file.heads.values() for segment in head.segments]
    named = [name for graph in (*graphs, file.fused) for name in graph.values()]
    named += [name for fixed in file.shapes.values() for name in fixed.files()]
    named += [weights for weights in map(weights_file, named) if weights is not None]
    for name in named + list(file.sha256):
        if not inside_folder(name):
            problems.add(root, f"found the file '{name}'; expected a name inside the model's folder")
    _targets(file, root, problems)
    if file.sha256:
        for name in sorted(set(named) - set(file.sha256)):
            problems.add(entries(root)["sha256"], f"sha256: '{name}' is not listed; expected every graph or none")


def _targets(file: File, root: yaml.MappingNode, problems: Problems) -> None:
    """A target with a file for any backbone graph has one for the first."""
    if file.backbone is None:
        return
    if not file.backbone.graphs:
        problems.add(entries(root)["backbone"], "backbone.graphs: found none; expected at least one graph")
        return
    first, *later = file.backbone.graphs
    for target in sorted({target for graph in later for target in graph} - set(first)):
        problems.add(
            entries(root)["backbone"], f"backbone.graphs: '{target}' has no file in the first graph; expected one there"
        )


def shapes(file: File, root: yaml.MappingNode, problems: Problems) -> None:
    """The fixed shapes of every segment and head start with the whole image; the others are parts of it."""
    for target, fixed in file.shapes.items():
        where, node = f"shapes.{target}", entries(entries(root)["shapes"])[target]
        if file.backbone is None or not all(target in graph for graph in file.backbone.graphs[:1]):
            problems.add(node, f"{where}: the backbone has no graph for {target}; expected one in backbone.graphs")
        if not fixed.backbone:
            problems.add(node, f"{where}.backbone: found none; expected the shapes of every segment")
        for i, segment in enumerate(fixed.backbone):
            _sizes(segment, f"{where}.backbone[{i}]", file, node, problems)
        for name, head in fixed.heads.items():
            if name not in file.heads:
                problems.add(node, f"{where}.heads: there is no head '{name}'{nearest(name, file.heads)}")
            _sizes(head, f"{where}.heads.{name}", file, node, problems)


def _sizes(shapes: tuple[FixedShape, ...], where: str, file: File, node: yaml.Node, problems: Problems) -> None:
    """Check the shapes of one segment or head."""
    width, height = file.input.width, file.input.height
    sizes = [(shape.width, shape.height) for shape in shapes]
    whole = f"the whole image, {width}x{height}"
    if sizes[:1] != [(width, height)]:
        first = f"{sizes[0][0]}x{sizes[0][1]}" if sizes else "none"
        problems.add(node, f"{where}: begins with {first}; expected {whole}")
    for i, size in enumerate(sizes[1:], start=1):
        if size in sizes[:i] or size[0] > width or size[1] > height:
            problems.add(node, f"{where}[{i}]: found {size[0]}x{size[1]}; expected a part of {whole}, each once")


def wiring(file: File, node: yaml.Node, problems: Problems) -> None:
    """Every head takes existing features, or crops of an existing head. node: of `heads`."""
    features = set(file.backbone.features) if file.backbone else set()
    for name, head in file.heads.items():
        at = entries(node)[name]
        if head.crops is not None:
            _crops(name, file, at, problems)
            continue
        if file.backbone is None and (head.inputs or head.graph is None):
            problems.add(at, f"heads.{name}: the model has no backbone; expected a graph and no inputs")
        if file.backbone is not None and not head.inputs:
            problems.add(
                at, f"heads.{name}.inputs: missing; expected some of the features {', '.join(sorted(features))}"
            )
        for feature in head.inputs:
            if file.backbone and feature not in features:
                problems.add(
                    at, f"heads.{name}.inputs: the backbone has no feature '{feature}'{nearest(feature, features)}"
                )


def _crops(name: str, file: File, node: yaml.Node, problems: Problems) -> None:
    """A second-stage head has a graph of its own and takes crops of a first-stage detector."""
    where, head = f"heads.{name}", file.heads[name]
    crops = head.crops
    assert crops is not None
    if head.graph is None or head.inputs:
        problems.add(node, f"{where}: takes crops; expected a graph of its own and no inputs")
    first = {other: each.family for other, each in file.heads.items() if each.crops is None}
    if crops.of not in first:
        problems.add(node, f"{where}.crops.of: there is no first-stage head '{crops.of}'{nearest(crops.of, first)}")
    elif not _detects(first[crops.of]):
        problems.add(node, f"{where}.crops.of: '{crops.of}' finds no boxes; expected a head that detects")
    elif crops.align == "face5" and not _finds_keypoints(first[crops.of]):
        problems.add(
            node,
            f"{where}.crops.align: found face5, but '{crops.of}' (family {first[crops.of]}) finds no landmarks; "
            "expected a head that does, or align: box",
        )


def result_type(family: str, where: str, node: yaml.Node, problems: Problems) -> None:
    """The family's `result_type` is one of the results. family: a known one."""
    found = registry.find("heads", family).result_type
    if found not in get_args(Result):
        expected = " or ".join(each.__name__ for each in get_args(Result))
        problems.add(node, f"{where}.family: '{family}': found result_type {found!r}; expected {expected}")


def _detects(family: str) -> bool:
    """Whether a family's results are boxes. An unknown family is reported elsewhere, so it counts as such."""
    try:
        return registry.find("heads", family).result_type is Detections
    except ConfigError:
        return True


def _finds_keypoints(family: str) -> bool:
    """Whether a family's detections have keypoints: its class says so by `keypoints = True`."""
    try:
        return bool(getattr(registry.find("heads", family), "keypoints", False))
    except ConfigError:
        return True


def inside_folder(name: str) -> bool:
    """Whether a file name from model.yaml refers to a file inside the model's folder."""
    path = Path(name)
    return bool(name) and "\0" not in name and not path.is_absolute() and ".." not in path.parts
