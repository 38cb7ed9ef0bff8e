"""Compare the values before the last Softmax or Sigmoid of compiled graphs with those of the published files.

Scores close to 0 or 1 hide errors of these values. Rows that the file has selected have no order and are not compared.
Not here: the outputs themselves (proof.py), finding the activations (activations.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import onnx

from edge_app.compiler import activations, canonical
from edge_app.compiler.assemble import Assembly, Runner
from edge_app.compiler.box_proof import NOISE
from edge_app.compiler.calibration_images import CalibrationImages
from edge_app.compiler.input_models import InputModel
from edge_app.compiler.net import Net, join
from edge_app.compiler.proof import TOLERANCE, UNORDERED
from edge_app.compiler.published_runs import Runs, largest_error
from edge_app.errors import ModelError


def prove(
    models: Sequence[InputModel], assembly: Assembly, images: CalibrationImages, rows: Sequence[int]
) -> dict[str, float]:
    """Compare the models that end in such activations on the images `rows`. Returns the largest errors by head.

    Raises ModelError if an error is beyond the rounding noise of the published file.
    """
    segments, heads = assembly.on_pixels()
    pairs = {model.name: _without_activations(model, heads[model.name]) for model in models}
    changed = {name: pair[1] for name, pair in pairs.items() if pair is not None}
    if not changed:
        return {}
    runner = Runner([canonical.any_size(net).serialize() for net in segments], changed)
    results = [runner.run(images.pixels[row]) for row in rows]
    errors = {}
    for model in models:
        pair = pairs[model.name]
        if pair is None:
            continue
        published = Runs.of(replace(model, graphs=(*model.graphs[:-1], pair[0]), sessions=[]), images, rows)
        noise = published.noise()
        found = [list(result[model.name].values()) for result in results]
        error = errors[model.name] = max(largest_error(a, b) for a, b in zip(published.plain, found))
        if not error <= (tolerance := max(TOLERANCE, NOISE * noise)):
            raise ModelError(
                f"{model.name}: values before the last Softmax or Sigmoid differ from those of the published file by "
                f"{error:.2g}; expected at most {tolerance:.2g} (rounding alone changes them by {noise:.2g})"
            )
    return errors


def _without_activations(model: InputModel, head: Net) -> tuple[bytes, bytes] | None:
    """The last published graph and the compiled head with its tail; None if they cannot be compared in this way."""
    published = onnx.ModelProto()
    published.ParseFromString(model.graphs[-1])
    if UNORDERED & {node.op_type for node in published.graph.node}:
        return None
    published, count = activations.removed(published)
    compiled, found = activations.removed(_with_tail(model, head).to_model())
    if not count or found != count:
        return None
    return published.SerializeToString(), compiled.SerializeToString()


def _with_tail(model: InputModel, head: Net) -> Net:
    """The head with the tail that was cut off."""
    if model.cut is None:
        return head
    tail = model.cut.tail.copy()
    for value, name in zip(model.cut.tail.inputs, head.outputs):
        tail.rename(value.name, name)
    return join(head.name, head, tail)
