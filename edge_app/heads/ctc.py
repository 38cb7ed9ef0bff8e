"""ctc: a line of text by a network with connectionist temporal classification, such as PP-OCR recognition and LPRNet.

Output (1, T, C) or (1, C, T): at each of T positions along the line, the probability of each character and of `blank`.
The best at each position are taken, repeated ones merged, and blanks dropped. The labels are the characters in the
order of the classes, without the blank; a class more than labels and blank is the space, as PP-OCR adds it.
Source: `CTCLabelDecode` in PaddleOCR, `postprocess` of LPRNet in rknn_model_zoo. Not here: finding lines (dbtext.py).
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from edge_app.backends import TensorSpec
from edge_app.errors import ModelError
from edge_app.frame import Float32, Text
from edge_app.geometry.boxes import Transform
from edge_app.heads import HeadSpec
from edge_app.heads._outputs import Arrays, float32, shape_of, shapes_known, specs_of, unsupported_outputs
from edge_app.heads._texts import published
from edge_app.options import Fraction

_EXPECTED = "one output 1xTxC or 1xCxT, C: one for each label, the blank and, optionally, the space"
_SUM_TOLERANCE = 0.02  # of probabilities, to 1; of an int8 engine, too


class Head:
    """Reads the characters of a line.

    score: the least mean probability of the characters; below it, the text is empty. blank: its class; `auto` is the
    first, except of a graph without a time axis in front of the classes (1, C, T), as LPRNet's, where it is the last.
    activation: whether the graph lacks the softmax; `auto` applies it unless the values are probabilities.
    """

    result_type = Text
    characters = True  # of a dictionary file, every line is a label, one of spaces too

    def __init__(
        self,
        spec: HeadSpec,
        *,
        score: Fraction = 0.5,
        blank: Literal["auto", "first", "last"] = "auto",
        activation: Literal["auto", "softmax", "none"] = "auto",
    ) -> None:
        self._spec, self._score, self._blank, self._activation = spec, score, blank, activation
        self._format = _Format.of(spec, spec.outputs, blank) if shapes_known(spec.outputs) else None

    def decode(self, outputs: Arrays, transform: Transform) -> Text:  # noqa: ARG002  (a text has no place)
        """Decode one line."""
        (output,) = outputs.values() if len(outputs) == 1 else (None,)
        found = self._format
        if output is None or found is None:
            found = _Format.of(self._spec, specs_of(outputs), self._blank)
            (output,) = outputs.values()
        values = float32(output.reshape(_rows_and_columns(output.shape[1:])))
        values = values.T if found.classes_first else values  # (T, C)
        best = values.argmax(axis=1)
        read = best != found.blank
        read[1:] &= best[1:] != best[:-1]
        if not read.any():
            return Text("", 0.0)
        score = float(self._probabilities(values, best)[read].mean())
        if not score >= self._score:  # NaN, too
            return Text("", 0.0)
        return Text(published("".join(found.characters[i] for i in best[read].tolist())), min(score, 1.0))

    def _probabilities(self, values: Float32, best: np.ndarray) -> Float32:
        """The probability of the best class at each position. values: (T, C), best: (T,)."""
        highest: Float32 = values[np.arange(len(best)), best]
        if self._activation == "none" or (self._activation == "auto" and _are_probabilities(values)):
            return highest
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(1 / np.exp(values - highest[:, None]).sum(axis=1), np.float32)


def _are_probabilities(values: Float32) -> bool:
    """Whether the values (T, C) of the first position are a distribution."""
    first = values[0]
    return bool(first.min() >= -_SUM_TOLERANCE and abs(float(first.sum()) - 1) <= _SUM_TOLERANCE * 5)


def _rows_and_columns(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of an output without its batch, and without the height of a map, which is 1: CxHxT, TxHxC or HxTxC."""
    if len(shape) != 3:
        return shape
    height = next((axis for axis in (1, 0, 2) if shape[axis] == 1), None)
    return shape if height is None else (*shape[:height], *shape[height + 1 :])


class _Format:
    """How an output is read. characters: by class; the blank's is empty. blank: its class."""

    def __init__(self, characters: tuple[str, ...], blank: int, classes_first: bool) -> None:
        self.characters, self.blank, self.classes_first = characters, blank, classes_first

    @classmethod
    def of(cls, spec: HeadSpec, outputs: tuple[TensorSpec, ...], blank: str) -> _Format:
        """Raises ModelError if the outputs are not those of a line of text with these labels."""
        shape = _rows_and_columns(shape_of(outputs[0])) if len(outputs) == 1 else ()
        if len(shape) != 2:
            raise unsupported_outputs(spec, outputs, _EXPECTED)
        labels = len(spec.labels)
        fits = [axis for axis in (1, 0) if shape[axis] in (labels + 1, labels + 2)]
        if not labels or not fits:
            raise ModelError(
                f"heads.{spec.name}.labels: family 'ctc': found {labels} labels, and an output {shape[0]}x{shape[1]}; "
                "expected a label for each class except the blank and, if there is one, the space at the end"
            )
        axis = fits[0]
        last = blank == "last" or (blank == "auto" and axis == 0)
        space = (" ",) if shape[axis] == labels + 2 else ()
        characters = (*spec.labels, *space)
        ordered = (*characters, "") if last else ("", *characters)
        return cls(ordered, len(characters) if last else 0, axis == 0)
