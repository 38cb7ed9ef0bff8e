"""The same model for another input size, for lower resolution and for crops.

The fixed sizes are removed from the inputs and outputs of the graphs; only running a graph shows whether it then works.
Not here: choosing a size (controls.py).
"""

from __future__ import annotations

import shutil
from pathlib import Path

import yaml

from edge_app.errors import ConfigError
from edge_app.model import manifest as manifests
from edge_app.model.manifest import FILE, Manifest
from edge_app.options.extras import install


def resize_model(manifest: Manifest, width: int, height: int, folder: Path) -> Manifest:
    """Write the model for images of width x height into `folder`, which is replaced. Returns its manifest.

    Raises ConfigError if onnx is not installed.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    document = yaml.safe_load((manifest.folder / FILE).read_text(encoding="utf-8"))
    document["input"].update(width=width, height=height)
    document.pop("sha256", None)  # no longer valid
    document.pop("shapes", None)  # for parts of the old image size
    (folder / FILE).write_text(yaml.safe_dump(document), encoding="utf-8")
    crops = {name for head in manifest.heads.values() if head.crops and head.graph for name in head.graph.values()}
    for name in manifest.files():
        if (manifest.folder / name).suffix == ".onnx" and name not in crops:
            _copy_with_free_sizes(manifest.folder / name, folder / name)
        else:
            shutil.copy(manifest.folder / name, folder / name)
    for labels in manifest.folder.glob("*.txt"):
        shutil.copy(labels, folder)
    return manifests.load(folder)


def _copy_with_free_sizes(source: Path, target: Path) -> None:
    """Copy an ONNX graph; all axes but the first of its inputs and outputs become variable."""
    try:
        import onnx
    except ImportError as exc:
        raise ConfigError(
            f"bench reuse: the library {exc.name}, which lower resolution and crops need, is not installed; expected: "
            f"{install('compiler')}, or --no-controls"
        ) from exc
    model = onnx.load(str(source))
    for value in [*model.graph.input, *model.graph.output]:
        for axis, size in enumerate(value.type.tensor_type.shape.dim):
            if axis > 0:
                size.ClearField("dim_value")
                size.dim_param = f"{value.name}_{axis}"
    del model.graph.value_info[:]
    onnx.save(model, str(target))
