"""Read models/<name>/model.yaml: the contract between the host that makes a model and the device that runs it.

Not here: cross-checks of its parts (checks.py), running the graphs (inference/), making them (compiler/).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from edge_app import registry
from edge_app.backends import Graph, TensorSpec, weights_file
from edge_app.errors import ConfigError, ModelError
from edge_app.heads import HeadSpec, image_input
from edge_app.model import checks
from edge_app.model.schema import (
    Backbone,
    CropInput,
    File,
    FixedShapes,
    HeadManifest,
    HeadSegment,
    Input,
    Memory,
    OutputCells,
)
from edge_app.options import WRONG, read_dataclass, read_options
from edge_app.options.document import Problems, entries, load_yaml
from edge_app.options.files import MAX_TEXT, read_regular
from edge_app.options.scalars import checked_text

FORMAT = 1
FILE = "model.yaml"
GOLDEN = "golden.npz"
LABEL_SETS = ("coco80",)
_UPGRADE = "unsupported format version; upgrade edge-app or recompile the model"
_LABELS_FOLDER = Path(__file__).parents[1] / "heads" / "labels"


@dataclass(frozen=True, slots=True)
class ManifestHead:
    """One head, read and checked.

    input_size: width and height of its input, pixels. options: the family's options from model.yaml, already checked.
    crops: only for a second-stage head. cells: only for a head that can run on a part of its inputs.
    segments: the head in parts, if it is cut. reads_image: it has no network (heads.image_input); model.yaml has none.
    characters: of a head that reads text, instead of labels: what it may read is no list of classes for people.
    """

    name: str
    family: str
    labels: tuple[str, ...]
    input_size: tuple[int, int]
    inputs: tuple[str, ...] = ()
    graph: Mapping[str, str] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    crops: CropInput | None = None
    cells: Mapping[str, OutputCells] = field(default_factory=dict)
    segments: tuple[HeadSegment, ...] = ()
    reads_image: bool = False
    characters: tuple[str, ...] = ()

    @property
    def whole_image(self) -> bool:
        """Whether it decodes the outputs of graphs that run on the whole image."""
        return self.crops is None and not self.reads_image

    def spec(self, outputs: tuple[TensorSpec, ...]) -> HeadSpec:
        """The HeadSpec from which the head's plug-in is constructed. outputs: the tensors that its graph returns."""
        return HeadSpec(self.name, self.family, self.characters or self.labels, self.input_size, outputs)


@dataclass(frozen=True, slots=True)
class Manifest:
    """A model folder: `folder`/model.yaml, read and checked.

    fused: by target, one file with backbone and all heads, its outputs named `head/output`. It is used when every head
    runs on every frame and copying features through a slow CPU costs more than sharing the backbone saves.
    memory: by file name. shapes, precision: by target.
    """

    folder: Path
    name: str
    input: Input
    heads: Mapping[str, ManifestHead]
    backbone: Backbone | None
    sha256: Mapping[str, str]
    fused: Mapping[str, str] = field(default_factory=dict)
    memory: Mapping[str, Memory] = field(default_factory=dict)
    shapes: Mapping[str, FixedShapes] = field(default_factory=dict)
    precision: Mapping[str, str] = field(default_factory=dict)

    def graph(self, files: Mapping[str, str], target: str) -> Graph:
        """The file of one graph for a target (`onnx`, `rv1106`, …). Raises ModelError if there is none."""
        if target not in files:
            raise ModelError(
                f"{self.folder / FILE}: found graphs for {', '.join(sorted(files))}, but none for '{target}'; "
                f"expected another backend, or the model compiled for '{target}'"
            )
        return self.file(files[target])

    def file(self, name: str) -> Graph:
        """A file of the folder, with its listed hash, and the file of its weights."""
        weights = weights_file(name)
        return Graph(
            self.folder / name, self.sha256.get(name), self.folder, self.file(weights) if weights is not None else None
        )

    def backbone_graphs(self, target: str) -> list[Graph]:
        """The backbone's files for a target, in order; [] without a backbone. Raises ModelError if there are none."""
        if self.backbone is None:
            return []
        first, *later = self.backbone.graphs
        return [self.graph(first, target), *(self.graph(files, target) for files in later if target in files)]

    def targets(self) -> set[str]:
        """The targets for which the model has a complete set of files."""
        first = self.backbone.graphs[:1] if self.backbone else ()
        graphs = [set(graph) for graph in (*first, *self._head_graphs())]
        return set.intersection(*graphs) if graphs else set()

    def files(self) -> list[str]:
        """Every graph file that the manifest names, in its order, once each, with the files of their weights."""
        parts = [segment.graph for head in self.heads.values() for segment in head.segments]
        named = [name for graph in (*self._graphs(), *parts, self.fused) for name in graph.values()]
        named += [name for fixed in self.shapes.values() for name in fixed.files()]
        return list(dict.fromkeys(file for name in named for file in (name, weights_file(name)) if file is not None))

    def _graphs(self) -> list[Mapping[str, str]]:
        return [*(self.backbone.graphs if self.backbone else ()), *self._head_graphs()]

    def _head_graphs(self) -> list[Mapping[str, str]]:
        return [head.graph for head in self.heads.values() if head.graph]

    def of_target(self, target: str) -> list[str]:
        """The files of backbone and heads for a target, in order."""
        return [graph[target] for graph in self._graphs() if target in graph]


def without_model() -> Manifest:
    """The manifest of a configuration without a model: no graphs and, until they are added, no heads."""
    return Manifest(Path(), "none", Input(width=320, height=320), {}, None, {})


def image_head(name: str, family: str) -> ManifestHead:
    """A head without a network. Raises ConfigError if there is no such family, or it needs a network."""
    plugin = registry.find("heads", family)
    if image_input(plugin) is None:
        raise ConfigError(f"family '{family}' decodes the outputs of a network; expected it in {FILE}, or one without")
    return ManifestHead(name, family, tuple(plugin.labels), (0, 0), reads_image=True)


def load(folder: Path) -> Manifest:
    """Read `folder`/model.yaml. Raises ModelError with one line for each mistake."""
    problems = Problems(folder / FILE)
    root = load_yaml(problems.path, problems, inside=folder)
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
        problems.add(version, f"format: found {version.value}; expected {FORMAT}: {_UPGRADE}")
        return None
    file = read_dataclass(_without_head_options(root), File, "", problems)
    if file is WRONG:
        return None
    checks.files(file, root, problems)
    checks.image_input(file.input, "input", node["input"], problems)
    heads = {
        name: _head(name, head, entries(node["heads"])[name], file.input, problems) for name, head in file.heads.items()
    }
    if not heads:
        problems.add(node["heads"], "heads: found none; expected at least one head")
    checks.wiring(file, node["heads"], problems)
    checks.shapes(file, root, problems)
    return Manifest(
        folder, file.name, file.input, heads, file.backbone, file.sha256, file.fused, file.memory, file.shapes,
        file.precision,
    )  # fmt: skip


def _without_head_options(root: yaml.MappingNode) -> yaml.MappingNode:
    """The document without the `options` of each head, which the family's own schema checks."""
    heads = entries(root).get("heads")
    if not isinstance(heads, yaml.MappingNode):
        return root
    pruned = [(k, _without(v, "options") if isinstance(v, yaml.MappingNode) else v) for k, v in heads.value]
    heads = yaml.MappingNode(heads.tag, pruned, heads.start_mark, heads.end_mark)
    pairs = [(k, heads if k.value == "heads" else v) for k, v in root.value]
    return yaml.MappingNode(root.tag, pairs, root.start_mark, root.end_mark)


def _without(node: yaml.MappingNode, name: str) -> yaml.MappingNode:
    pairs = [(k, v) for k, v in node.value if k.value != name]
    return yaml.MappingNode(node.tag, pairs, node.start_mark, node.end_mark)


def _head(name: str, head: HeadManifest, node: yaml.Node, spec: Input, problems: Problems) -> ManifestHead:
    where = f"heads.{name}"
    given: dict[str, Any] = {}
    try:
        schema = registry.options("heads", head.family)
    except ConfigError as exc:
        problems.add(node, f"{where}.family: {exc}")
    else:
        checks.result_type(head.family, where, node, problems)
        if image_input(registry.find("heads", head.family)) is not None:
            found = f"{where}.family: '{head.family}' has no network"
            problems.add(node, f"{found}; expected it in config.yaml, as heads: {{{name}: {{family: {head.family}}}}}")
        given = read_options(entries(node).get("options"), schema, f"{where}.options", problems)
    labels, reads_text = head.labels, _reads_characters(head.family)
    if isinstance(labels, str):
        labels = _label_file(labels, node, where, problems, characters=reads_text)
    labels, characters = ((), labels) if reads_text else (labels, ())
    size = spec if head.crops is None else head.crops.input
    if head.crops is not None:
        checks.image_input(size, f"{where}.crops.input", node, problems)
    inputs = head.inputs
    return ManifestHead(
        name, head.family, labels, (size.width, size.height), inputs, head.graph, given, head.crops, head.cells,
        head.segments, characters=characters,
    )  # fmt: skip


def label_set(name: str) -> tuple[str, ...]:
    """The labels of a named set."""
    return tuple((_LABELS_FOLDER / f"{name}.txt").read_text(encoding="utf-8").split("\n")[:-1])


def _reads_characters(family: str) -> bool:
    """Whether the labels of a family are characters. An unknown family is reported elsewhere."""
    try:
        return bool(getattr(registry.find("heads", family), "characters", False))
    except ConfigError:
        return False


def _label_file(
    name: str, node: yaml.Node, where: str, problems: Problems, *, characters: bool = False
) -> tuple[str, ...]:
    """The labels in a file, one a line. characters: a space is one, too; only the ends of lines separate them."""
    folder = _LABELS_FOLDER if name in LABEL_SETS else problems.path.parent
    try:
        if not checks.inside_folder(name):
            raise FileNotFoundError(2, "it is outside the model's folder")
        data = read_regular(folder / (f"{name}.txt" if name in LABEL_SETS else name), MAX_TEXT, inside=folder)
        if characters:
            lines = data.decode("utf-8-sig").removesuffix("\n").split("\n")
            return tuple(checked_text(line.removesuffix("\r")) for line in lines)
        return tuple(checked_text(line.strip()) for line in data.decode().splitlines() if line.strip())
    except (OSError, ValueError) as exc:
        found = exc.strerror if isinstance(exc, OSError) else _not_labels(exc)
        expected = f"a list, a text file in the folder, or {' or '.join(LABEL_SETS)}"
        problems.add(node, f"{where}.labels: '{name}': {found}; expected {expected}")
        return ()


def _not_labels(exc: ValueError) -> str:
    return "not UTF-8 text" if isinstance(exc, UnicodeDecodeError) else str(exc).partition(";")[0]
