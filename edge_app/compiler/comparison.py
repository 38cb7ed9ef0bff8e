"""Compare the outputs of compiled graphs with those of float32, after the family's own decoder and as raw tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from edge_app import registry
from edge_app.compiler import families
from edge_app.compiler.calibration_images import CalibrationImages
from edge_app.compiler.input_models import InputModel
from edge_app.compiler.net import Net
from edge_app.compiler.session import Array
from edge_app.evaluation import LOWER_SCORE, cosine, result_agreement
from edge_app.frame import Result
from edge_app.heads import Head

Outputs = Mapping[str, Mapping[str, Array]]  # of one image, by head and output name


class OutputComparison:
    """Compares outputs for the same images. rows: of `images`; reference: the float32 outputs of each row."""

    def __init__(
        self,
        models: Sequence[InputModel],
        whole: Net,
        images: CalibrationImages,
        rows: Sequence[int],
        reference: Sequence[Outputs],
    ) -> None:
        self._heads = {model.name: _decoder(model, whole) for model in models}
        self._transforms = [images.transforms[row] for row in rows]
        self._reference = list(reference)
        self._results = self._decode(reference)

    def agreement(self, outputs: Sequence[Outputs], reference: Sequence[Outputs] | None = None) -> dict[str, float]:
        """Agreement of decoded results (0..1), by head. reference: None means the float32 outputs."""
        expected = self._results if reference is None else self._decode(reference)
        results = self._decode(outputs)
        sizes = [(t.image_width, t.image_height) for t in self._transforms]
        return {name: result_agreement(expected[name], results[name], sizes) for name in self._heads}

    def cosines(self, outputs: Sequence[Outputs], reference: Sequence[Outputs] | None = None) -> dict[str, float]:
        """Cosine of every output over all images, by head/output. reference: None means the float32 outputs."""
        expected = self._reference if reference is None else reference
        return {
            f"{head}/{output}": cosine(
                np.concatenate([np.ravel(row[head][output]) for row in expected]),
                np.concatenate([np.ravel(row[head][output]) for row in outputs]),
            )
            for head, names in expected[0].items()
            for output in names
        }

    def _decode(self, outputs: Sequence[Outputs]) -> dict[str, list[Result]]:
        return {
            name: [head.decode(row[name], transform) for row, transform in zip(outputs, self._transforms)]
            for name, head in self._heads.items()
        }


def _decoder(model: InputModel, whole: Net) -> Head:
    """The head's decoder, with a score threshold low enough for hysteresis."""
    outputs = [name for name in whole.outputs if name.startswith(f"{model.name}/")]
    part = whole.copy()
    part.outputs = outputs
    labels = model.labels if isinstance(model.labels, tuple) else ()
    spec = families.head_spec(part, model.name, model.family.name, labels)
    spec = replace(spec, outputs=tuple(type(o)(o.name.split("/", 1)[1], o.shape, o.dtype) for o in spec.outputs))
    option_names = {option.name for option in registry.options("heads", model.family.name)}
    options = dict(model.options)
    if {"score", "nms_iou"} <= option_names:
        options["score"] = LOWER_SCORE
    head: Head = registry.build("heads", model.family.name, spec, **options)
    return head


def group_by_head(names: Sequence[str], arrays: Sequence[Array]) -> dict[str, dict[str, Array]]:
    """Group arrays named head/output by head and output."""
    grouped: dict[str, dict[str, Array]] = {}
    for name, array in zip(names, arrays):
        head, _, output = name.partition("/")
        grouped.setdefault(head, {})[output] = array
    return grouped
