"""The same model for another input size: what lower resolution and crops are measured with.

Sizes are taken out of the graphs' inputs; whether the graphs then work is found by running them. Not here: choosing a
size (controls.py).
"""

from __future__ import annotations

import shutil
from pathlib import Path

import yaml

from edge_app.errors import ConfigError
from edge_app.model import manifest as manifests
from edge_app.model.manifest import FILE, Manifest


def resize_model(manifest: Manifest, width: int, height: int, folder: Path) -> Manifest:
    """Write the model into `folder` (made anew) for pictures of width x height; returns its manifest.

    Raises ConfigError where the library that rewrites graphs is missing.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    document = yaml.safe_load((manifest.folder / FILE).read_text(encoding="utf-8"))
    document["input"].update(width=width, height=height)
    document.pop("sha256", None)  # of the files as they were
    document.pop("shapes", None)  # of parts of a picture of the old size
    (folder / FILE).write_text(yaml.safe_dump(document), encoding="utf-8")
    crops = {name for head in manifest.heads.values() if head.crops and head.graph for name in head.graph.values()}
    for name in manifest.files():
        if (manifest.folder / name).suffix == ".onnx" and name not in crops:
            _free(manifest.folder / name, folder / name)
        else:
            shutil.copy(manifest.folder / name, folder / name)
    for labels in manifest.folder.glob("*.txt"):
        shutil.copy(labels, folder)
    return manifests.load(folder)


def _free(source: Path, target: Path) -> None:
    """Copy an ONNX graph, its inputs and outputs of any height and width."""
    try:
        import onnx
    except ImportError as exc:
        raise ConfigError(
            f"bench reuse: lower resolution and crops need {exc.name}; expected: pip install 'edge-app[compiler]', "
            "or --no-controls"
        ) from exc
    model = onnx.load(str(source))
    for value in [*model.graph.input, *model.graph.output]:
        for axis, size in enumerate(value.type.tensor_type.shape.dim):
            if axis > 0:
                size.ClearField("dim_value")
                size.dim_param = f"{value.name}_{axis}"
    del model.graph.value_info[:]
    onnx.save(model, str(target))
