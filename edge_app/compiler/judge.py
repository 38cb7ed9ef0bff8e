"""What a head's outputs mean: decoded by the family's own decoder, and compared with what float32 gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from edge_app import registry
from edge_app.compiler import families
from edge_app.compiler.net import Net
from edge_app.compiler.origin import Original
from edge_app.compiler.pictures import Pictures
from edge_app.compiler.session import Array
from edge_app.evaluation import LOWER_SCORE, cosine, result_agreement
from edge_app.frame import Result
from edge_app.heads import Head

Outputs = Mapping[str, Mapping[str, Array]]  # of one picture, by head and name


class Judge:
    """Compares outputs of the same pictures. rows: of the pictures; reference: what float32 gives for each of them."""

    def __init__(
        self,
        originals: Sequence[Original],
        whole: Net,
        pictures: Pictures,
        rows: Sequence[int],
        reference: Sequence[Outputs],
    ) -> None:
        self._heads = {original.name: _decoder(original, whole) for original in originals}
        self._transforms = [pictures.transforms[row] for row in rows]
        self._reference = list(reference)
        self._results = self._decode(reference)

    def agreement(self, found: Sequence[Outputs]) -> dict[str, float]:
        """How well decoded results agree with float32's, by head."""
        return self.between(found, None)

    def between(self, found: Sequence[Outputs], reference: Sequence[Outputs] | None) -> dict[str, float]:
        """How well decoded results agree, by head. reference: None is float32's."""
        expected = self._results if reference is None else self._decode(reference)
        got = self._decode(found)
        sizes = [(t.image_width, t.image_height) for t in self._transforms]
        return {name: result_agreement(expected[name], got[name], sizes) for name in self._heads}

    def cosines(self, found: Sequence[Outputs], reference: Sequence[Outputs] | None = None) -> dict[str, float]:
        """The cosine of every output over all pictures, by head/output."""
        expected = self._reference if reference is None else reference
        return {
            f"{head}/{output}": cosine(
                np.concatenate([np.ravel(each[head][output]) for each in expected]),
                np.concatenate([np.ravel(each[head][output]) for each in found]),
            )
            for head, outputs in expected[0].items()
            for output in outputs
        }

    def _decode(self, outputs: Sequence[Outputs]) -> dict[str, list[Result]]:
        return {
            name: [head.decode(each[name], transform) for each, transform in zip(outputs, self._transforms)]
            for name, head in self._heads.items()
        }


def _decoder(original: Original, whole: Net) -> Head:
    """The head's decoder, letting through what hysteresis needs."""
    outputs = [name for name in whole.outputs if name.startswith(f"{original.name}/")]
    part = whole.copy()
    part.outputs = outputs
    labels = original.labels if isinstance(original.labels, tuple) else ()
    spec = families.head_spec(part, original.name, original.family.name, labels)
    spec = replace(spec, outputs=tuple(type(o)(o.name.split("/", 1)[1], o.shape, o.dtype) for o in spec.outputs))
    known = {option.name for option in registry.options("heads", original.family.name)}
    options = dict(original.options)
    if {"score", "nms_iou"} <= known:
        options["score"] = LOWER_SCORE
    head: Head = registry.build("heads", original.family.name, spec, **options)
    return head


def by_head(names: Sequence[str], arrays: Sequence[Array]) -> dict[str, dict[str, Array]]:
    """Outputs named head/output as they are used here."""
    found: dict[str, dict[str, Array]] = {}
    for name, array in zip(names, arrays):
        head, _, output = name.partition("/")
        found.setdefault(head, {})[output] = array
    return found
