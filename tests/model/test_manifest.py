"""manifest: required keys of model.yaml, the checks, and every message."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_app.backends import Graph
from edge_app.errors import ModelError
from edge_app.model import manifest
from edge_app.model.schema import FixedShape
from tests.conftest import PROJECT

INPUT = "format: 1\nname: m\ninput: {width: 64, height: 48}\n"
HEAD = "family: classify, graph: {onnx: a.onnx}"


def write(folder: Path, text: str) -> Path:
    (folder / "model.yaml").write_text(text, encoding="utf-8")
    return folder


def problems_of(folder: Path) -> list[str]:
    with pytest.raises(ModelError) as caught:
        manifest.load(folder)
    return [line.replace(f"{folder}/model.yaml:", "") for line in str(caught.value).splitlines()]


def test_a_minimal_file_has_input_family_graph_and_labels(tmp_path: Path):
    loaded = manifest.load(write(tmp_path, INPUT + "heads: {kind: {" + HEAD + ", labels: [cat, dog]}}"))
    assert loaded.input.shape == (1, 3, 48, 64)
    assert loaded.heads["kind"].labels == ("cat", "dog")
    assert loaded.heads["kind"].input_size == (64, 48)
    assert loaded.files() == ["a.onnx"]
    assert loaded.targets() == {"onnx"}


def test_a_target_may_have_the_backbone_in_fewer_graphs(tmp_path: Path):
    graphs = "[{onnx: b0.onnx, rv1106: b.rknn, int8: b0.int8.onnx}, {onnx: b1.onnx}]"
    head = "{family: classify, inputs: [c8], graph: {onnx: a.onnx, rv1106: a.rknn}, labels: [cat, dog]}"
    text = INPUT + f"backbone: {{graphs: {graphs}, features: [c8]}}\nheads: {{a: {head}}}"
    loaded = manifest.load(write(tmp_path, text))
    assert loaded.targets() == {"onnx", "rv1106"}
    assert [graph.path.name for graph in loaded.backbone_graphs("onnx")] == ["b0.onnx", "b1.onnx"]
    assert [graph.path.name for graph in loaded.backbone_graphs("rv1106")] == ["b.rknn"]
    assert loaded.of_target("rv1106") == ["b.rknn", "a.rknn"]
    with pytest.raises(ModelError, match="none for 'rk3588'"):
        loaded.backbone_graphs("rk3588")


def test_the_shipped_model_lists_the_hash_of_every_file():
    loaded = manifest.load(PROJECT / "models/digits")
    assert set(loaded.files()) <= set(loaded.sha256)
    for name in loaded.files():
        assert Graph(loaded.folder / name, loaded.sha256[name]).read()


SEGMENTS = "backbone: {graphs: [{onnx: b.onnx, rv1106: b.rknn}], features: [c8]}\n"
SHAPED_HEAD = "heads: {a: {family: classify, inputs: [c8], graph: {onnx: a.onnx, rv1106: a.rknn}}}\n"
WHOLE, PART = "{width: 64, height: 48, file: w.rknn}", "{width: 32, height: 48, file: p.rknn}"


def with_shapes(backbone: str, heads: str = "", target: str = "rv1106") -> str:
    return INPUT + SEGMENTS + SHAPED_HEAD + f"shapes: {{{target}: {{backbone: {backbone}, heads: {{{heads}}}}}}}\n"


def test_reads_the_fixed_shapes_of_a_target(tmp_path: Path):
    loaded = manifest.load(write(tmp_path, with_shapes(f"[[{WHOLE}, {PART}], [{WHOLE}]]", f"a: [{WHOLE}, {PART}]")))
    found = loaded.shapes["rv1106"]
    assert found.backbone[0] == (FixedShape(64, 48, "w.rknn"), FixedShape(32, 48, "p.rknn"))
    assert found.files() == ["w.rknn", "p.rknn", "w.rknn", "w.rknn", "p.rknn"]
    assert loaded.files() == ["b.onnx", "b.rknn", "a.onnx", "a.rknn", "w.rknn", "p.rknn"]
    assert loaded.of_target("rv1106") == ["b.rknn", "a.rknn"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (with_shapes("[]"), "6: shapes.rv1106.backbone: found none; expected the shapes of every segment"),
        (with_shapes("[[]]"), "6: shapes.rv1106.backbone[0]: begins with none; expected the whole image, 64x48"),
        (
            with_shapes(f"[[{PART}, {WHOLE}]]"),
            "6: shapes.rv1106.backbone[0]: begins with 32x48; expected the whole image, 64x48",
        ),
        (
            with_shapes(f"[[{WHOLE}, {PART}, {PART}]]"),
            "6: shapes.rv1106.backbone[0][2]: found 32x48; expected a part of the whole image, 64x48, each once",
        ),
        (
            with_shapes(f"[[{WHOLE}]]", f"a: [{WHOLE}, {PART.replace('32', '80')}]"),
            "6: shapes.rv1106.heads.a[1]: found 80x48; expected a part of the whole image, 64x48, each once",
        ),
        (
            with_shapes(f"[[{WHOLE}]]", f"b: [{WHOLE}]"),
            "6: shapes.rv1106.heads: there is no head 'b'; expected one of: a",
        ),
        (
            with_shapes(f"[[{WHOLE}]]", target="rk3588"),
            "6: shapes.rk3588: the backbone has no graph for rk3588; expected one in backbone.graphs",
        ),
        (
            with_shapes("[[{width: 64, height: 48, file: ../w.rknn}]]"),
            "1: found the file '../w.rknn'; expected a name inside the model's folder",
        ),
        (
            with_shapes(f"[[{WHOLE}]]") + "sha256: {b.onnx: '0', b.rknn: '0', a.onnx: '0', a.rknn: '0'}",
            "7: sha256: 'w.rknn' is not listed; expected every graph or none",
        ),
        (
            with_shapes("[[{width: 64, height: 0, file: w.rknn}]]"),
            "6: shapes.rv1106.backbone[0][0].height: found '0'; expected a whole number at least 1",
        ),
    ],
)
def test_a_mistake_in_shapes_is_one_line_with_its_line_number(tmp_path: Path, text: str, expected: str):
    assert problems_of(write(tmp_path, text)) == [expected]


def test_labels_may_be_a_file_or_a_known_set(tmp_path: Path):
    (tmp_path / "names.txt").write_text("red\n\ngreen\n", encoding="utf-8")
    text = INPUT + "heads:\n  a: {" + HEAD + ", labels: names.txt}\n  b: {" + HEAD + ", labels: coco80}"
    loaded = manifest.load(write(tmp_path, text))
    assert loaded.heads["a"].labels == ("red", "green")
    assert len(loaded.heads["b"].labels) == 80
    assert loaded.heads["b"].labels[0] == "person"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "format: 2\nname: m",
            "1: format: found 2; expected 1: unsupported format version; upgrade edge-app or recompile the model",
        ),
        (INPUT + "heads: {}", "4: heads: found none; expected at least one head"),
        (
            INPUT + "heads: {a: {family: yollo, graph: {onnx: a.onnx}}}",
            "4: heads.a.family: unknown family 'yollo'; did you mean 'yolo'?",
        ),
        (
            INPUT + "heads: {a: {" + HEAD + ", options: {top_kk: 3}}}",
            "4: heads.a.options: unknown option 'top_kk'; did you mean 'top_k'?",
        ),
        (
            INPUT + "heads: {a: {" + HEAD + ", inputs: [c8]}}",
            "4: heads.a: the model has no backbone; expected a graph and no inputs",
        ),
        (
            INPUT + "backbone: {graphs: [{onnx: b.onnx}], features: [c8]}\nheads: {a: {" + HEAD + "}}",
            "5: heads.a.inputs: missing; expected some of the features c8",
        ),
        (
            INPUT + "backbone: {graphs: [{onnx: b.onnx}], features: [c8]}\nheads: {a: {" + HEAD + ", inputs: [c9]}}",
            "5: heads.a.inputs: the backbone has no feature 'c9'; expected one of: c8",
        ),
        (
            INPUT + "backbone: {graphs: [{onnx: b.onnx}, {onnx: c.onnx, npu: c.rknn}], features: [c8]}\n"
            "heads: {a: {" + HEAD + ", inputs: [c8]}}",
            "4: backbone.graphs: 'npu' has no file in the first graph; expected one there",
        ),
        (
            INPUT + "backbone: {graphs: [], features: [c8]}\nheads: {a: {" + HEAD + ", inputs: [c8]}}",
            "4: backbone.graphs: found none; expected at least one graph",
        ),
        (
            INPUT + "heads: {a: {family: classify, graph: {onnx: ../../etc/passwd}}}",
            "1: found the file '../../etc/passwd'; expected a name inside the model's folder",
        ),
        (
            INPUT + "heads: {a: {family: classify, graph: {onnx: /etc/passwd}}}",
            "1: found the file '/etc/passwd'; expected a name inside the model's folder",
        ),
        (
            INPUT + "heads: {a: {" + HEAD + "}}\nsha256: {b.onnx: '00'}",
            "5: sha256: 'a.onnx' is not listed; expected every graph or none",
        ),
        (
            INPUT.replace("64", "0") + "heads: {a: {" + HEAD + "}}",
            "3: input.width: found '0'; expected a whole number 1 to 8192",
        ),
        (
            INPUT.replace("64", "4096").replace("48", "4096") + "heads: {a: {" + HEAD + "}}",
            "3: input: found 4096x4096; expected at most 16 million pixels",
        ),
        (
            INPUT.replace("48", "48, std: [1, 0, 1]") + "heads: {a: {" + HEAD + "}}",
            "3: input.std: found 0; expected other numbers",
        ),
        (
            INPUT.replace("48", "48, crop_fraction: 0.9") + "heads: {a: {" + HEAD + "}}",
            "3: input.crop_fraction: found with resize: letterbox; expected resize: crop",
        ),
    ],
)
def test_a_mistake_is_one_line_with_its_line_number(tmp_path: Path, text: str, expected: str):
    assert problems_of(write(tmp_path, text)) == [expected]


def test_a_missing_manifest_is_an_error(tmp_path: Path):
    (problem,) = problems_of(tmp_path)
    assert problem.endswith("cannot be read: No such file or directory; expected a YAML file")


def test_rejects_a_labels_file_outside_the_folder(tmp_path: Path):
    (problem,) = problems_of(write(tmp_path, INPUT + "heads: {a: {" + HEAD + ", labels: ../x.txt}}"))
    assert "it is outside the model's folder" in problem


def test_rejects_a_changed_graph(tmp_path: Path):
    (tmp_path / "a.onnx").write_bytes(b"changed")
    with pytest.raises(ModelError, match=r"a\.onnx: sha256 is .*; expected abc.* as in model\.yaml"):
        Graph(tmp_path / "a.onnx", "abc").read()


def test_a_target_without_a_file_is_an_error(tmp_path: Path):
    loaded = manifest.load(write(tmp_path, INPUT + "heads: {a: {" + HEAD + "}}"))
    with pytest.raises(ModelError, match="found graphs for onnx, but none for 'rv1106'"):
        loaded.graph({"onnx": "a.onnx"}, "rv1106")


CTC = """format: 1
name: plates
input: {width: 96, height: 48}
heads: {plate: {family: ctc, graph: {onnx: plate.onnx}, labels: LABELS}}
"""


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_the_labels_of_a_head_that_reads_text_are_its_characters(tmp_path, ends):
    """Every line of the file is one, a space too; they are no labels for messages and entities."""
    (tmp_path / "model.yaml").write_text(CTC.replace("LABELS", "keys.txt"), encoding="utf-8")
    (tmp_path / "keys.txt").write_bytes(ends.join(["a", " ", "\u3000", "b", ""]).encode())
    head = manifest.load(tmp_path).heads["plate"]
    assert head.labels == ()
    assert head.spec(()).labels == ("a", " ", "\u3000", "b")


def test_characters_are_one_line_each(tmp_path):
    (tmp_path / "model.yaml").write_text(CTC.replace("LABELS", "keys.txt"), encoding="utf-8")
    (tmp_path / "keys.txt").write_bytes(b"a\n\x1b[31m\n")
    with pytest.raises(ModelError, match=r"heads\.plate\.labels: 'keys\.txt': found the control character U\+001B"):
        manifest.load(tmp_path)
