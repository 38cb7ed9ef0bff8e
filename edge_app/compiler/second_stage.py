"""Add a compiled model to another model folder, as a head that runs on crops of another head's detections.

Not here: compiling it (build.py), replacing the folder (folder.py).
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml

from edge_app.compiler import describe, folder
from edge_app.compiler.session import HostSession
from edge_app.errors import ConfigError, ModelError
from edge_app.model import manifest as manifests
from edge_app.model.manifest import Manifest
from edge_app.model.schema import CropInput
from edge_app.options.document import nearest
from edge_app.options.files import MAX_TEXT, read_regular

Align = Literal["box", "face5", "quad"]
_FUSED = "fused"
_EQUAL = 1e-4  # largest difference of a batch from single images, relative to the largest value


@dataclass(frozen=True, slots=True)
class SecondStage:
    """What to crop. into: the folder of the first stage. of: its head. name: of the new head, None for the file's."""

    into: Path
    of: str
    align: Align = "box"
    name: str | None = None


def check(stage: SecondStage, targets: Collection[str], *, force: bool) -> Path | None:
    """Whether the folder has the head, before anything is compiled. Returns as `folder.check_out`. Raises EdgeError.

    targets: of the new head, which must be those of the folder: a target needs the graphs of all heads.
    """
    manifest = manifests.load(stage.into)
    if stage.of not in manifest.heads:
        found = f"--crops-of: {stage.into} has no head '{stage.of}'{nearest(stage.of, manifest.heads)}"
        raise ConfigError(f"{found}; found {', '.join(manifest.heads)}")
    if stage.name in manifest.heads:
        raise ConfigError(f"--name: {stage.into} has a head '{stage.name}' already; expected another name")
    if missing := sorted(manifest.targets() - set(targets)):
        found = f"--into: {stage.into} has graphs for {', '.join(sorted(manifest.targets()))}"
        needed = "--calibrate" if missing == ["int8"] else f"--target {','.join(missing)}"
        raise ConfigError(f"{found}; expected the same for the new head: {needed}")
    return folder.check_out(stage.into, force=force)


def attach(compiled: Path, stage: SecondStage, backup: Path | None) -> str:
    """Add the only head of a compiled folder to `stage.into`; returns its name. Raises EdgeError and changes nothing.

    backup: what `check` has returned.
    """
    model, target = manifests.load(compiled), manifests.load(stage.into)
    ((found, head),) = model.heads.items()
    name = stage.name or found
    if name in target.heads:
        raise ConfigError(f"{stage.into}: has a head '{name}' already; expected --name NAME")
    graphs = model.fused or head.graph or {}
    files = _renamed(model, graphs, (_FUSED, found), name)
    if taken := sorted(set(files.values()) & {path.name for path in stage.into.iterdir()}):
        raise ConfigError(f"{stage.into}: has a file {taken[0]} already; expected --name NAME")
    crops = CropInput(stage.of, model.input, align=stage.align)
    block: dict[str, Any] = {
        "family": head.family,
        "graph": {engine: files[file] for engine, file in graphs.items()},
        "crops": {"of": crops.of, "align": crops.align, "input": describe.plain(asdict(crops.input))},
        **({"labels": list(labels)} if (labels := head.characters or head.labels) else {}),
        **({"options": describe.plain(dict(head.options))} if head.options else {}),
    }
    written = yaml.safe_load(read_regular(stage.into / manifests.FILE, MAX_TEXT))
    written.pop("sha256", None)
    written["heads"][name] = block
    for file, memory in model.memory.items():
        if file in files:
            written.setdefault("memory", {})[files[file]] = asdict(memory)
    with folder.staged(stage.into, backup) as staging:
        own = [*target.files(), *(file for file in (manifests.GOLDEN,) if (stage.into / file).exists())]
        for file in own:
            shutil.copy2(stage.into / file, staging / file)
        for file, new in files.items():
            shutil.copy2(compiled / file, staging / new)
        if "onnx" in graphs:
            free_batch(staging / files[graphs["onnx"]])
        folder.write_manifest(staging, written)
    return name


def free_batch(path: Path) -> bool:
    """Let a graph take several images at once, if it then computes the same for each. Returns whether it does."""
    import onnx

    original = path.read_bytes()
    single = HostSession(original)
    model = onnx.load_from_string(original)
    for value in (*model.graph.input, *model.graph.output):
        sizes = value.type.tensor_type.shape.dim
        if not sizes or sizes[0].dim_value != 1:
            return False
        sizes[0].dim_param = "n"
    del model.graph.value_info[:]
    _free_reshapes(model)
    shape = [size.dim_value for size in model.graph.input[0].type.tensor_type.shape.dim[1:]]
    dtype = onnx.helper.tensor_dtype_to_np_dtype(model.graph.input[0].type.tensor_type.elem_type)
    images = np.random.default_rng(0).integers(0, 255, (3, *shape)).astype(dtype)
    data = model.SerializeToString()
    try:
        together = HostSession(data).run(images)
    except Exception:  # noqa: BLE001  (onnxruntime's exceptions share no base class; the graph keeps its batch of 1)
        return False
    for i in range(len(images)):
        for one, several in zip(single.run(images[i : i + 1]), together):
            scale = float(np.abs(one).max(initial=1e-6))
            if several.shape[0] != len(images) or np.abs(several[i : i + 1] - one).max(initial=0) > _EQUAL * scale:
                return False
    path.write_bytes(data)
    return True


def _free_reshapes(model: Any) -> None:
    """Let each Reshape keep the batch: a first size of 1 becomes 0, which copies it."""
    from onnx import numpy_helper

    shapes = {node.input[1] for node in model.graph.node if node.op_type == "Reshape"}
    for tensor in model.graph.initializer:
        sizes = numpy_helper.to_array(tensor)
        if tensor.name in shapes and sizes.size > 1 and sizes[0] == 1:
            tensor.CopyFrom(numpy_helper.from_array(np.concatenate([[0], sizes[1:]]).astype(np.int64), tensor.name))


def _renamed(model: Manifest, graphs: Mapping[str, str], stems: tuple[str, ...], name: str) -> dict[str, str]:
    """The new names of the files of a model's graphs, and of their weights. stems: what `name` replaces."""
    from edge_app.backends import weights_file

    files: dict[str, str] = {}
    for file in graphs.values():
        for each in (file, weights_file(file)):
            if each is not None:
                stem = next((stem for stem in stems if each.startswith(f"{stem}.")), None)
                files[each] = f"{name}-{each}" if stem is None else name + each[len(stem) :]
    if missing := [file for file in files if not (model.folder / file).exists()]:
        raise ModelError(f"{model.folder}: has no file {missing[0]}; expected it")
    return files
