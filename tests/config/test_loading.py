"""Reading config.yaml into a Config. All mistakes are reported at once, each with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_app import config
from edge_app.config import PluginConfig
from edge_app.errors import ConfigError
from tests.conftest import PROJECT

SOURCE = "source: {type: synthetic}\n"
MODEL = "model: {path: PROJECT/models/digits}\n"


def problems_of(path: Path, **overrides: object) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config.load(path, **overrides)
    return [problem.replace(f"{path}:", "") for problem in caught.value.problems]


def test_the_default_configuration_is_valid_and_reads_the_sample():
    loaded = config.load(PROJECT / "config.yaml")
    assert loaded.source.plugin == PluginConfig(
        "video",
        {"path": PROJECT / "models/digits/sample.mp4", "pace": "realtime"},
        f"{PROJECT}/config.yaml:9",
    )
    assert list(loaded.heads) == ["digits", "panel", "scene"]
    assert loaded.heads["digits"].options["score"] == 0.4
    assert [sink.type for sink in loaded.sinks] == ["jsonl"]


def test_its_blocks_are_in_pipeline_order():
    text = (PROJECT / "config.yaml").read_text(encoding="utf-8")
    places = [text.find(f"\n{block}:") for block in config.BLOCKS]
    given = [place for place in places if place >= 0]
    assert given == sorted(given)


def test_paths_are_relative_to_the_file(config_file):
    path = config_file("device: {state_dir: here}\nsource: {type: video, path: a.mp4}\n" + MODEL)
    loaded = config.load(path)
    assert loaded.device.state_dir == path.parent / "here"
    assert loaded.source.plugin.options["path"] == path.parent / "a.mp4"


def test_without_a_heads_block_every_head_of_the_model_runs(config_file):
    assert list(config.load(config_file(SOURCE + MODEL)).heads) == ["digits", "panel", "scene"]


def test_only_the_named_heads_run(config_file):
    loaded = config.load(config_file(SOURCE + MODEL + "heads: {scene: {every_s: 2}}"))
    assert list(loaded.heads) == ["scene"]
    assert loaded.heads["scene"].common.every_s == 2.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (SOURCE + MODEL + "snks: []", ["3: unknown block 'snks'; did you mean 'sinks'?"]),
        (
            SOURCE + MODEL + "heads: {digits: {scor: 1}}",
            ["3: heads.digits: unknown option 'scor'; did you mean 'score'?"],
        ),
        (
            SOURCE + MODEL + "heads: {digits: {score: 1.5}}",
            ["3: heads.digits.score: found '1.5'; expected a number 0 to 1"],
        ),
        (SOURCE + MODEL + "heads: {digit: {}}", ["3: heads: the model has no head 'digit'; did you mean 'digits'?"]),
        (MODEL, [" source: missing; expected a block with a type"]),
        (
            "source: [{type: synthetic}]\n" + MODEL,
            ["1: source: found a list of 1; expected one block with a type; several cameras: the block cameras"],
        ),
        (
            "source: rtsp://user:word@cam/live\n" + MODEL,
            ["1: source: found 'rtsp://…@cam/live'; expected a block such as {type: rtsp, url: rtsp://host/path}"],
        ),
        (
            "source: {type: rtps}\n" + MODEL,
            ["1: source.type: unknown type 'rtps'; did you mean 'rtsp'?"],
        ),
        (
            "source: {type: video, path: x, pce: fast}\n" + MODEL,
            ["1: source: unknown option 'pce'; did you mean 'pace'?"],
        ),
        ("source: {type: video}\n" + MODEL, ["1: source.path: missing; expected a path"]),
        (
            "source: {type: synthetic, rotate: 45}\n" + MODEL,
            ["1: source.rotate: found '45'; expected 0 or 90 or 180 or 270"],
        ),
        (
            "source: {type: synthetic, crop: [0.5, 0, 0.4, 1]}\n" + MODEL,
            ["1: source.crop: found [0.5, 0.0, 0.4, 1.0]; expected x1 < x2 and y1 < y2"],
        ),
        (
            "source: {type: synthetic, mask: [[[0, 0], [1, 1]]]}\n" + MODEL,
            ["1: source.mask: found a polygon of 2 points; expected at least 3"],
        ),
        (
            "source:\n  type: synthetic\n  mask: [[[0.5, 0], [0.8, 1], [0, 0.4], [1, 0.4], [0.2, 1]]]  # a star\n"
            + MODEL,
            [
                "3: source.mask: found a polygon that crosses or touches itself (sides from [0.5, 0] and from "
                "[0, 0.4]); expected the corners in order around the outline"
            ],
        ),
        (
            SOURCE + "model: {path: PROJECT/models/digits, backend: onxx}",
            ["2: model.backend: unknown backend 'onxx'; did you mean 'onnx'?"],
        ),
        (
            "device: {id: 'a b'}\n" + SOURCE + MODEL,
            ["1: device.id: found 'a b'; expected 1 to 64 of A-Z a-z 0-9 . _ -"],
        ),
        (
            SOURCE + MODEL + "sinks: {type: jsonl}",
            ["3: sinks: found a block of options; expected a list, each with a type"],
        ),
        (SOURCE + MODEL + "sinks:\n  - {path: x}", None),
        (SOURCE + MODEL + "publish: {results: sometimes}", None),
    ],
)
def test_reports_a_mistake_with_its_line_and_the_nearest_name(config_file, text: str, expected: list[str] | None):
    found = problems_of(config_file(text))
    if expected is None:
        assert len(found) == 1
        assert "expected" in found[0]
    else:
        assert found == expected


def test_reports_all_mistakes_at_once(config_file):
    text = (
        "device: {idd: x}\nsource: {type: video}\nmodel: {path: PROJECT/models/digits}\nheads: {digits: {score: x}}\n"
    )
    assert [problem.split(":")[0] for problem in problems_of(config_file(text + "sinks: [{type: jsn}]"))] == list(
        "1245"
    )


def test_reports_a_missing_model_folder_with_the_line(config_file):
    (problem,) = problems_of(config_file(SOURCE + "model: {path: nowhere}"))
    assert problem.startswith("2: model.path: ")
    assert "nowhere/model.yaml: cannot be read: No such file or directory" in problem


def test_another_model_ignores_heads_of_the_configured_one(config_file, tmp_path: Path):
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / "model.yaml").write_text(
        "format: 1\nname: other\ninput: {width: 32, height: 32}\n"
        "heads: {scene: {family: classify, graph: {onnx: a.onnx}, labels: [a, b]}}",
        encoding="utf-8",
    )
    loaded = config.load(config_file(SOURCE + MODEL + "heads: {digits: {score: 0.4}}"), model=folder)
    assert loaded.manifest.name == "other"
    assert list(loaded.heads) == ["scene"]


@pytest.mark.parametrize(
    ("text", "type_", "options"),
    [
        ("rtsp://u:p@10.0.0.1/live", "rtsp", {"url": "rtsp://u:p@10.0.0.1/live"}),
        ("http://10.0.0.1/mjpeg", "http", {"url": "http://10.0.0.1/mjpeg"}),
        ("https://10.0.0.1/snap.jpg", "http", {"url": "https://10.0.0.1/snap.jpg"}),
        ("RTSP://10.0.0.1/live", "rtsp", {"url": "RTSP://10.0.0.1/live"}),
        ("HTTPS://10.0.0.1/snap.jpg", "http", {"url": "HTTPS://10.0.0.1/snap.jpg"}),
        ("/dev/video3", "v4l2", {"device": "/dev/video3"}),
        ("0", "v4l2", {"device": "0"}),
        ("synthetic:", "synthetic", {}),
        ("clip.mp4", "video", {"path": Path("clip.mp4")}),
    ],
)
def test_a_source_argument_selects_the_type(text: str, type_: str, options: dict[str, object]):
    source = config.from_url(text)
    assert (source.plugin.type, source.plugin.options) == (type_, options)


def test_a_folder_as_source_argument_is_images(tmp_path: Path):
    assert config.from_url(str(tmp_path)).plugin.type == "images"


def test_a_file_whose_name_is_a_number_is_not_a_camera(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "7").mkdir()
    assert config.from_url("7").plugin.type == "images"


def test_the_camera_keeps_its_name_when_the_source_is_replaced(config_file):
    path = config_file("source: {type: rtsp, url: rtsp://10.0.0.7/live, name: yard, rotate: 90}\n" + MODEL)
    loaded = config.load(path, source="clip.mp4")
    assert loaded.source.plugin.type == "video"
    assert (loaded.source.common.name, loaded.source.common.rotate) == ("yard", 0)


def test_a_wrong_name_is_a_mistake_although_the_source_is_replaced(config_file):
    path = config_file("source: {type: rtsp, name: [yard]}\n" + MODEL)
    assert problems_of(path, source="clip.mp4") == ["1: source.name: found a list of 1; expected text"]


def test_rejects_an_unknown_scheme():
    with pytest.raises(ConfigError, match="--source: found 'ftp://x'"):
        config.from_url("ftp://x")
