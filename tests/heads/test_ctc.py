"""The head `ctc` against a slow reading of the same probabilities, one position after the other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_app.backends import TensorSpec
from edge_app.errors import ModelError
from edge_app.geometry.boxes import fit
from edge_app.heads import HeadSpec
from edge_app.heads.ctc import Head

LABELS = tuple("ABC0é")
LINE = fit((100, 20), (96, 48), "line")


def spec(*outputs: TensorSpec, labels: tuple[str, ...] = LABELS) -> HeadSpec:
    return HeadSpec("plate", "ctc", labels, (96, 48), outputs)


def softmax(logits: np.ndarray) -> np.ndarray:
    e = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return (e / e.sum(axis=-1, keepdims=True)).astype(np.float32)


def read_slowly(probability: np.ndarray, characters: list[str], blank: int) -> tuple[str, float]:
    """(T, C): one position after the other, as PaddleOCR's CTCLabelDecode does."""
    text, scores, before = "", [], None
    for position in probability:
        best = int(np.argmax(position))
        if best not in (blank, before):
            text += characters[best]
            scores.append(float(position[best]))
        before = best
    return text, float(np.mean(scores)) if scores else 0.0


@pytest.mark.parametrize("space", [False, True])
@pytest.mark.parametrize("layout", ["tc", "ct"])
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), length=st.integers(9, 30))
def test_text_and_score_are_those_of_the_slow_reading(space: bool, layout: str, seed: int, length: int):
    characters = [*LABELS, *([" "] if space else [])]
    probability = softmax(np.random.default_rng(seed).normal(0, 4, (length, len(characters) + 1)))
    first = layout == "tc"
    ordered = ["", *characters] if first else [*characters, ""]
    expected = read_slowly(probability, ordered, 0 if first else len(characters))
    output = probability[None] if first else probability.T[None]
    found = Head(spec(), score=0.0).decode({"out": output}, LINE)
    assert found.text == expected[0]
    assert found.score == pytest.approx(expected[1], abs=1e-6)


def test_logits_get_the_softmax():
    logits = np.random.default_rng(0).normal(0, 5, (1, 20, 6)).astype(np.float32)
    head = Head(spec(TensorSpec("out", (1, 20, 6), "float32")), score=0.0)
    expected = read_slowly(softmax(logits[0]), ["", *LABELS], 0)
    found = head.decode({"out": logits}, LINE)
    assert (found.text, found.score) == (expected[0], pytest.approx(expected[1], abs=1e-5))


def line(text: str, score: float = 0.9) -> np.ndarray:
    """The output of a line, each character at two positions, with a blank after it."""
    probability = np.full((3 * len(text) + 1, 6), (1 - score) / 5, np.float32)
    best = [0]
    for character in text:
        best += [LABELS.index(character) + 1] * 2 + [0]
    probability[range(len(best)), best] = score
    return probability[None]


def test_repeated_characters_need_a_blank_between():
    assert Head(spec()).decode({"out": line("AAB00é")}, LINE).text == "AAB00é"


def test_below_the_score_the_text_is_empty():
    found = Head(spec(), score=0.8).decode({"out": line("ABC", 0.7)}, LINE)
    assert (found.text, found.score) == ("", 0.0)


def test_only_blanks_are_an_empty_text():
    found = Head(spec()).decode({"out": line("")}, LINE)
    assert (found.text, found.score) == ("", 0.0)


def test_blank_can_be_named():
    output = np.roll(line("CAB"), -1, axis=2)
    assert Head(spec(), blank="last").decode({"out": output}, LINE).text == "CAB"


def test_not_a_number_is_an_empty_text():
    found = Head(spec()).decode({"out": np.full((1, 20, 6), np.nan, np.float32)}, LINE)
    assert (found.text, found.score) == ("", 0.0)


def test_the_dynamic_time_axis_of_paddle_is_known_when_it_arrives():
    head = Head(spec(TensorSpec("out", (None, None, 6), "float32")))
    assert head.decode({"out": line("ABC")}, LINE).text == "ABC"
    assert head.decode({"out": line("ABCA")}, LINE).text == "ABCA"


def test_a_map_with_one_row_is_a_line():
    """As of LPRNet exports (1, C, 1, T), and (1, T, 1, C)."""
    output = line("ABC")
    assert Head(spec(), blank="first").decode({"out": output.transpose(0, 2, 1)[:, :, None]}, LINE).text == "ABC"


@pytest.mark.parametrize("labels", [LABELS[:3], (*LABELS, "x", "y"), ()])
def test_a_dictionary_of_the_wrong_length_is_one_line(labels: tuple[str, ...]):
    with pytest.raises(ModelError) as caught:
        Head(spec(TensorSpec("out", (1, 20, 6), "float32"), labels=labels))
    found = f"heads.plate.labels: family 'ctc': found {len(labels)} labels, and an output 20x6; expected a label for"
    assert str(caught.value).startswith(found)
    assert "\n" not in str(caught.value)


def test_control_characters_of_a_dictionary_are_not_published():
    head = Head(spec(labels=("A", "\u200b", "C", "0", "é")), score=0.0)
    assert head.decode({"out": line("ABC")}, LINE).text == "A\ufffdC"
