"""models/<name>/model.yaml: the contract between the host that makes a model and the device that runs it.

Not here: whether its parts agree (manifest_checks.py), running the graphs (inference.py) or making them (compiler/).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml

from edge_app import manifest_checks, registry
from edge_app.boxes import Resize
from edge_app.document import Problems, entries, load_yaml, nearest
from edge_app.errors import ConfigError, ModelError
from edge_app.options import WRONG, Positive, Range, read_dataclass, read_options

FORMAT = 1
FILE = "model.yaml"
GOLDEN = "golden.npz"
LABEL_SETS = ("coco80",)
_LABELS_FOLDER = Path(__file__).parent / "heads" / "labels"


@dataclass(frozen=True, slots=True)
class Input:
    """What the first graph takes.

    `float32`: the host gives (pixel - mean) / std. `uint8`: the host gives pixels, and the graph (or the NPU, set up
    at conversion) applies mean and std itself. pad: the grey level around a letterboxed picture.
    """

    width: Positive
    height: Positive
    color: Literal["rgb", "bgr"] = "rgb"
    layout: Literal["nchw", "nhwc"] = "nchw"
    dtype: Literal["float32", "uint8"] = "float32"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (255.0, 255.0, 255.0)
    resize: Resize = "letterbox"
    pad: Annotated[int, Range(0, 255)] = 114

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The tensor's shape, one picture."""
        if self.layout == "nchw":
            return (1, 3, self.height, self.width)
        return (1, self.height, self.width, 3)


@dataclass(frozen=True, slots=True)
class Extent:
    """Where the cells of a backbone's map lie in the image, from the compiler: what reuse needs to recompute a crop.

    Cell i depends on pixels i * stride + low to i * stride + high of the input, in x and y alike.
    """

    stride: Positive
    low: int
    high: int
    channels: Positive


@dataclass(frozen=True, slots=True)
class Backbone:
    """The shared part. features: what the heads take, by tensor name.

    graphs: in order; each takes the image or maps of those before it. Where a target has no file for a later one, its
    graphs before that do the work: engines that cannot run a part of a picture need no more than one graph. extents: by
    tensor name, of every map that a graph gives; one that depends on the whole picture has none.
    """

    graphs: tuple[dict[str, str], ...]
    features: tuple[str, ...]
    extents: dict[str, Extent] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Shape:
    """A graph for one size: of the picture, or of the part of it that the graph's maps cover, pixels of the input."""

    width: Positive
    height: Positive
    file: str


@dataclass(frozen=True, slots=True)
class Shaped:
    """What an engine without free shapes computes parts of a picture with: for each step, the whole picture first.

    All shapes of one step have the scales of one quantised graph. backbone: its segments in order. heads: by name,
    those that can be run on a part of their inputs.
    """

    backbone: tuple[tuple[Shape, ...], ...]
    heads: dict[str, tuple[Shape, ...]] = field(default_factory=dict)

    def files(self) -> list[str]:
        """Every file, a step's own together."""
        return [shape.file for shapes in (*self.backbone, *self.heads.values()) for shape in shapes]


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of NPU memory that one converted file takes, as the converter says: weights and internal buffers."""

    weights: Annotated[int, Range(0)]
    internal: Annotated[int, Range(0)]


@dataclass(frozen=True, slots=True)
class CropInput:
    """What a second-stage head takes: crops of another head's detections, one at a time.

    of: that head. margin: how much wider than its box a crop is, in shares of the box, on each side. limit: how many
    a frame, the surest first.
    """

    of: str
    input: Input
    margin: Annotated[float, Range(0, 2)] = 0.1
    limit: Positive = 8


@dataclass(frozen=True, slots=True)
class Cells:
    """Where the cells of a head's output lie, a map's or the rows of one; from the compiler, as `Extent`.

    reach: by input, the first pixels of the cells that a cell needs, at least and at most, relative to its own.
    """

    stride: Positive
    reach: dict[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class HeadManifest:
    """One head as the file gives it. graph None: the head decodes its `inputs` as they are.

    cells: by output, where the head can be run on a part of its inputs; {} where it cannot.
    """

    family: str
    graph: dict[str, str] | None = None
    inputs: tuple[str, ...] = ()
    labels: tuple[str, ...] | str = ()
    options: dict[str, str] = field(default_factory=dict)  # read again by the family's own schema
    crops: CropInput | None = None
    cells: dict[str, Cells] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A tensor of a graph: its name, shape (None: free) and numpy dtype name."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str


@dataclass(frozen=True, slots=True)
class HeadSpec:
    """What a Head is constructed from.

    input_size: width and height of the head's input. outputs: the tensors that `decode` will get; empty while only
    a configuration is checked. options: the family's options from the manifest, already checked. crops: of a
    second-stage head. cells: of one that can be run on a part of its inputs.
    """

    name: str
    family: str
    labels: tuple[str, ...]
    input_size: tuple[int, int]
    inputs: tuple[str, ...] = ()
    graph: Mapping[str, str] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    outputs: tuple[TensorSpec, ...] = ()
    crops: CropInput | None = None
    cells: Mapping[str, Cells] = field(default_factory=dict)

    def with_outputs(self, outputs: tuple[TensorSpec, ...]) -> HeadSpec:
        return replace(self, outputs=outputs)


@dataclass(frozen=True, slots=True)
class Graph:
    """One graph file of a model folder. sha256 None: the manifest lists none."""

    path: Path
    sha256: str | None

    def read(self) -> bytes:
        """The file's bytes. Raises ModelError where it is missing or its hash differs from the manifest's."""
        try:
            data = self.path.read_bytes()
        except OSError as exc:
            raise ModelError(
                f"{self.path}: cannot be read: {exc.strerror}; expected a graph that {FILE} names"
            ) from exc
        if self.sha256 is not None:
            found = hashlib.sha256(data).hexdigest()
            if found != self.sha256:
                expected = f"expected {self.sha256[:12]}… as {FILE} says"
                raise ModelError(f"{self.path}: sha256 is {found[:12]}…; {expected}: changed or damaged")
        return data


@dataclass(frozen=True, slots=True)
class Manifest:
    """A model folder: `folder`/model.yaml, read and checked.

    fused: by target, one file of backbone and all heads, its outputs named `head/output`: for heads that are always
    due, where passing features through a slow CPU costs more than sharing saves. memory: by file name. shapes: by
    target.
    """

    folder: Path
    name: str
    input: Input
    heads: Mapping[str, HeadSpec]
    backbone: Backbone | None
    sha256: Mapping[str, str]
    fused: Mapping[str, str] = field(default_factory=dict)
    memory: Mapping[str, Memory] = field(default_factory=dict)
    shapes: Mapping[str, Shaped] = field(default_factory=dict)

    def graph(self, files: Mapping[str, str], target: str) -> Graph:
        """The file of one graph for a target (`onnx`, `rv1106`, …). Raises ModelError where there is none."""
        if target not in files:
            raise ModelError(
                f"{self.folder / FILE}: found graphs for {', '.join(sorted(files))} and none for '{target}'; "
                f"expected another backend, or the model compiled for '{target}'"
            )
        return Graph(self.folder / files[target], self.sha256.get(files[target]))

    def backbone_graphs(self, target: str) -> list[Graph]:
        """The backbone's files for a target, in order; [] without a backbone. Raises ModelError where there is none."""
        if self.backbone is None:
            return []
        first, *later = self.backbone.graphs
        return [self.graph(first, target), *(self.graph(files, target) for files in later if target in files)]

    def targets(self) -> set[str]:
        """The targets for which the model has all of its files."""
        first = self.backbone.graphs[:1] if self.backbone else ()
        return set.intersection(*(set(graph) for graph in (*first, *self._head_graphs())))

    def files(self) -> list[str]:
        """Every file that the manifest names, in its order."""
        named = [name for graph in (*self._graphs(), self.fused) for name in graph.values()]
        return list(dict.fromkeys([*named, *(name for shaped in self.shapes.values() for name in shaped.files())]))

    def _graphs(self) -> list[Mapping[str, str]]:
        return [*(self.backbone.graphs if self.backbone else ()), *self._head_graphs()]

    def _head_graphs(self) -> list[Mapping[str, str]]:
        return [head.graph for head in self.heads.values() if head.graph]

    def of_target(self, target: str) -> list[str]:
        """The files that are loaded for a target: backbone and heads, in order."""
        return [graph[target] for graph in self._graphs() if target in graph]


@dataclass(frozen=True, slots=True)
class File:
    """model.yaml as written."""

    format: int
    name: str
    input: Input
    heads: dict[str, HeadManifest]
    backbone: Backbone | None = None
    sha256: dict[str, str] = field(default_factory=dict)
    fused: dict[str, str] = field(default_factory=dict)
    memory: dict[str, Memory] = field(default_factory=dict)
    shapes: dict[str, Shaped] = field(default_factory=dict)


def load(folder: Path) -> Manifest:
    """Read `folder`/model.yaml. Raises ModelError with every mistake, a line each."""
    problems = Problems(folder / FILE)
    root = load_yaml(problems.path, problems)
    manifest = _read(folder, root, problems) if root is not None else None
    try:
        problems.raise_if_any()
    except ConfigError as exc:
        raise ModelError(str(exc)) from exc
    assert manifest is not None
    return manifest


def _read(folder: Path, root: yaml.MappingNode, problems: Problems) -> Manifest | None:
    node = entries(root)
    version = node.get("format")
    if isinstance(version, yaml.ScalarNode) and version.value.isdigit() and version.value != str(FORMAT):
        problems.add(version, f"format: found {version.value}; expected {FORMAT}: this edge_app is of another age")
        return None
    file = read_dataclass(_without_head_options(root), File, "", problems)
    if file is WRONG:
        return None
    manifest_checks.files(file, root, problems)
    heads = {
        name: _head(name, head, entries(node["heads"])[name], file.input, problems) for name, head in file.heads.items()
    }
    if not heads:
        problems.add(node["heads"], "heads: found none; expected at least one head")
    manifest_checks.wiring(file, node["heads"], problems)
    manifest_checks.shapes(file, root, problems)
    return Manifest(
        folder, file.name, file.input, heads, file.backbone, file.sha256, file.fused, file.memory, file.shapes
    )


def _without_head_options(root: yaml.MappingNode) -> yaml.MappingNode:
    """The tree less each head's `options`, whose schema is the family's own."""
    heads = entries(root).get("heads")
    if not isinstance(heads, yaml.MappingNode):
        return root
    pruned = [(k, _less(v, "options") if isinstance(v, yaml.MappingNode) else v) for k, v in heads.value]
    heads = yaml.MappingNode(heads.tag, pruned, heads.start_mark, heads.end_mark)
    swapped = [(k, heads if k.value == "heads" else v) for k, v in root.value]
    return yaml.MappingNode(root.tag, swapped, root.start_mark, root.end_mark)


def _less(node: yaml.MappingNode, name: str) -> yaml.MappingNode:
    kept = [(k, v) for k, v in node.value if k.value != name]
    return yaml.MappingNode(node.tag, kept, node.start_mark, node.end_mark)


def _head(name: str, head: HeadManifest, node: yaml.Node, spec: Input, problems: Problems) -> HeadSpec:
    where = f"heads.{name}"
    given: dict[str, Any] = {}
    try:
        schema = registry.options("heads", head.family)
    except ConfigError:
        families = registry.names("heads")
        problems.add(node, f"{where}.family: unknown family '{head.family}'{nearest(head.family, families)}")
    else:
        given = read_options(entries(node).get("options"), schema, f"{where}.options", problems)
    labels = head.labels
    if isinstance(labels, str):
        labels = _label_file(labels, node, where, problems)
    size = spec if head.crops is None else head.crops.input
    inputs = head.inputs
    return HeadSpec(
        name, head.family, labels, (size.width, size.height), inputs, head.graph, given, (), head.crops, head.cells
    )


def _label_file(name: str, node: yaml.Node, where: str, problems: Problems) -> tuple[str, ...]:
    path = _LABELS_FOLDER / f"{name}.txt" if name in LABEL_SETS else problems.path.parent / name
    try:
        if not manifest_checks.inside_folder(name):
            raise FileNotFoundError(2, "it lies outside the model's folder")
        return tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as exc:
        found = exc.strerror if isinstance(exc, OSError) else "not UTF-8 text"
        expected = f"a list, a text file in the folder, or {' or '.join(LABEL_SETS)}"
        problems.add(node, f"{where}.labels: '{name}': {found}; expected {expected}")
        return ()
