"""The bundle of this checkout: reproducible, small, and with the files of the board only."""

from __future__ import annotations

import ast
import io
import json
import os
import subprocess
import sys
import zipfile

import pytest

import build
import bundle
import slots
from boards import bundles
from edge_app.model import manifest as manifests
from tests.conftest import PROJECT
from tests.firmware.device import FIRMWARE

MODEL = PROJECT / "models/digits"
BOARDS = bundles()


@pytest.fixture(scope="module")
def files():
    return build.release_files(BOARDS["arm64"], MODEL, None, None)


def test_two_builds_differ_only_in_the_signature(keys, files):
    again = build.release_files(BOARDS["arm64"], MODEL, None, None)
    fields = {"version": "1.0", "board": "arm64"}
    one, two = (build.pack(each, fields, keys["ours"]) for each in (files, again))

    def unsigned(data):
        sizes = [int(n) for n in data.split(b"\n")[0].split()[-2:]]
        begin = data.index(b"\n") + 1
        return data[begin : begin + sizes[0]], data[begin + sum(sizes) :]

    assert unsigned(one) == unsigned(two)


def test_contains_device_files_and_no_host_only_packages(files):
    assert {
        "start",
        "edge-app",
        "config.yaml",
        "lib/edge_app/cli/parser.py",
        "lib/edge_app/messages.schema.json",
    } <= set(files)
    graphs = manifests.load(MODEL).of_target("onnx")
    assert {f"models/digits/{name}" for name in ("model.yaml", "golden.npz", *graphs)} <= set(files)
    for part in (
        "edge_app/compiler/",
        "edge_app/bench/",
        "edge_app/evaluation/",
        "training",
        "__pycache__",
        "sample.mp4",
        ".md",
    ):
        assert not [name for name in files if part in name], part
    assert [name for name, (_, executable) in files.items() if executable] == ["edge-app", "start"]


def test_leaves_out_the_docstrings_of_functions_and_keeps_all_else_on_its_line():
    def described(source):
        tree = ast.parse(source)
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                body = node.body[1:] if ast.get_docstring(node) is not None else node.body
                node.body = [each for each in body if ast.unparse(each) != "..."]
        return ast.dump(tree), [node.lineno for node in ast.walk(tree) if hasattr(node, "lineno")]

    sources = [path.read_bytes() for path in (PROJECT / "edge_app/config").glob("*.py")]
    assert sum(len(build.without_docstrings(source)) for source in sources) < 0.93 * sum(map(len, sources))
    for source in sources:
        packed = build.without_docstrings(source)
        assert described(packed) == described(source)
    assert build.without_docstrings(b'def f(): """One line."""\n') == b'def f(): """One line."""\n'


def test_is_at_most_three_megabytes_without_wheels(keys):
    """For NPU boards, which have little flash; a model without files for any NPU is packed with its float graphs."""
    npus = [name for name in ("rv1106", "rk3588") if name in manifests.load(MODEL).targets()]
    for name in npus or ["arm64"]:
        files = build.release_files(BOARDS[name], MODEL, None, None)
        data = build.pack(files, {"version": "1.0", "board": name}, keys["ours"])
        print(f"{name}: {len(data):,} bytes, {sum(len(each) for each, _ in files.values()):,} unpacked")
        assert len(data) <= 3e6


def test_contains_only_the_graphs_of_the_board(tmp_path):
    (tmp_path / "model.yaml").write_text(
        "backbone: {graphs: [{onnx: b.onnx, rv1106: b.rv1106.rknn}]}\n"
        "heads: {h: {graph: {onnx: h.onnx, rv1106: h.rv1106.rknn}, labels: names.txt}}\n"
    )
    for name in ("b.onnx", "b.rv1106.rknn", "h.onnx", "h.rv1106.rknn", "names.txt"):
        (tmp_path / name).write_text(name)
    expected = ["b.rv1106.rknn", "h.rv1106.rknn", "model.yaml", "names.txt"]
    assert build.model_files(tmp_path, BOARDS["rv1106"]) == expected
    assert build.model_files(tmp_path, BOARDS["arm64"]) == ["b.onnx", "h.onnx", "model.yaml", "names.txt"]
    with pytest.raises(build.BuildError, match="no file for rk3588"):
        build.model_files(tmp_path, BOARDS["rk3588"])
    (tmp_path / "b.rv1106.rknn").unlink()
    with pytest.raises(build.BuildError, match="missing"):
        build.model_files(tmp_path, BOARDS["rv1106"])


def test_a_segmented_backbone_is_packed_as_segments_or_as_one_graph_by_target(tmp_path):
    targets = {"onnx": "onnx", "rv1106": "rv1106.rknn"}
    block = {part: {target: f"{part}.{end}" for target, end in targets.items()} for part in ("b", "h")}
    text = {"backbone": {"graphs": [block["b"], {"onnx": "b1.onnx"}]}, "heads": {"h": {"graph": block["h"]}}}
    (tmp_path / "model.yaml").write_text(json.dumps(text))
    for name in (*(name for each in block.values() for name in each.values()), "b1.onnx"):
        (tmp_path / name).write_text(name)
    assert build.model_files(tmp_path, BOARDS["rv1106"]) == ["b.rv1106.rknn", "h.rv1106.rknn", "model.yaml"]
    assert build.model_files(tmp_path, BOARDS["arm64"]) == ["b.onnx", "b1.onnx", "h.onnx", "model.yaml"]


def test_fixed_shapes_are_packed_for_their_target_only(tmp_path):
    block = {part: {"onnx": f"{part}.onnx", "rv1106": f"{part}.rknn"} for part in ("b", "h")}
    shapes = {part: [{"width": 64, "height": 64, "file": f"{part}.64x64.rknn"}] for part in ("b0", "h")}
    text = {"backbone": {"graphs": [block["b"]]}, "heads": {"h": {"graph": block["h"]}}}
    text["shapes"] = {"rv1106": {"backbone": [shapes["b0"]], "heads": {"h": shapes["h"]}}}
    (tmp_path / "model.yaml").write_text(json.dumps(text))
    for name in ("b.onnx", "b.rknn", "h.onnx", "h.rknn", "b0.64x64.rknn", "h.64x64.rknn"):
        (tmp_path / name).write_text(name)
    expected = ["b.rknn", "b0.64x64.rknn", "h.64x64.rknn", "h.rknn", "model.yaml"]
    assert build.model_files(tmp_path, BOARDS["rv1106"]) == expected
    assert build.model_files(tmp_path, BOARDS["arm64"]) == ["b.onnx", "h.onnx", "model.yaml"]


def test_a_compiled_model_is_packed_with_the_fused_graph_of_the_target(tmp_path):
    targets = {"onnx": "onnx", "int8": "int8.onnx", "rv1106": "rv1106.rknn", "rk3588": "rk3588.rknn"}
    block = {part: {target: f"{part}.{end}" for target, end in targets.items()} for part in ("b", "h", "fused")}
    text = {"backbone": {"graphs": [block["b"]]}, "fused": block["fused"], "heads": {"h": {"graph": block["h"]}}}
    (tmp_path / "model.yaml").write_text(json.dumps(text))
    for name in (*(name for each in block.values() for name in each.values()), "golden.npz", "sample.mp4"):
        (tmp_path / name).write_text(name)
    for board, ends in {"rv1106": ["rv1106.rknn"], "rk3588": ["rk3588.rknn"], "arm64": ["onnx", "int8.onnx"]}.items():
        graphs = [f"{part}.{end}" for part in block for end in ends]
        assert build.model_files(tmp_path, BOARDS[board]) == sorted(["model.yaml", "golden.npz", *graphs])
    (tmp_path / "fused.rv1106.rknn").unlink()
    with pytest.raises(build.BuildError, match=r"fused\.rv1106\.rknn: missing"):
        build.model_files(tmp_path, BOARDS["rv1106"])


def test_wheels_are_unpacked_into_lib_without_scripts(tmp_path):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("library/__init__.py", "x = 1\n")
        archive.writestr("library-1.0.data/scripts/tool", "#!python\n")
    (tmp_path / "library-1.0-py3-none-any.whl").write_bytes(packed.getvalue())
    found = build.release_files(BOARDS["arm64"], MODEL, tmp_path, None)
    assert found["lib/library/__init__.py"] == (b"x = 1\n", False)
    assert not [name for name in found if "scripts" in name]


def test_an_unpacked_release_starts_from_any_folder(camera, files):
    """Its launcher finds the package and the model independent of `current`."""
    bundle_ = camera.write(build.pack(files, {"version": "1.0", "board": "amd64"}, camera.keys["ours"]))
    camera.slots.install(bundle_)
    camera.slots.boot()
    environment = {"EDGE_APP_PYTHON": sys.executable, "PATH": os.environ["PATH"]}
    command = [camera.root / "current/edge-app", "--version"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd="/", check=True)
    assert done.stdout.strip() == f"edge-app {build.project_version()}"
    alone = [sys.executable, "-S", "-B", "-m", "edge_app.cli"]  # without the packages installed on this machine
    lib = {"PYTHONPATH": str(camera.root / "current/lib")}
    for arguments in (["bench", "pipeline"], ["compile", "m.onnx"]):  # not on a camera
        done = subprocess.run([*alone, *arguments], env=lib, capture_output=True, text=True, cwd="/", check=False)
        assert done.returncode == 2
        assert "not in this installation" in done.stderr
        assert done.stderr.count("\n") == 1
    assert bundle.damage(camera.root / "current") is None  # it wrote nothing into its own folder


def test_a_board_without_npu_or_onnxruntime_gets_both_files_of_every_ncnn_graph(tmp_path):
    (tmp_path / "model.yaml").write_text("heads:\n  a: {graph: {onnx: a.onnx, ncnn: a.param}}\n")
    (tmp_path / "a.param").write_bytes(b"")
    with pytest.raises(build.BuildError, match=r"a\.bin: missing"):
        build.model_files(tmp_path, BOARDS["armhf"])
    (tmp_path / "a.bin").write_bytes(b"")
    assert build.model_files(tmp_path, BOARDS["armhf"]) == ["a.bin", "a.param", "model.yaml"]


def test_the_default_configuration_of_every_board_matches_its_release():
    for board in ("amd64", "arm64"):
        files = build.release_files(BOARDS[board], MODEL, None, None)
        text = files["config.yaml"][0].decode()
        assert "@" not in text
        assert "path: models/digits" in text
        assert f"backend: {BOARDS[board].backend}" in text


def test_a_key_is_never_overwritten_and_only_its_owner_can_read_it(tmp_path):
    build.make_key(tmp_path / "k.pem")
    assert (tmp_path / "k.pem").stat().st_mode & 0o777 == 0o600
    assert "PRIVATE" not in (tmp_path / "k.pub.pem").read_text()
    with pytest.raises(build.BuildError, match="exists"):
        build.make_key(tmp_path / "k.pem")


def test_deploy_local_installs_into_a_root_directory(tmp_path, keys):
    command = [
        PROJECT / "deploy.sh",
        "--local",
        tmp_path / "root",
        "--board",
        "amd64",
        "--no-wheels",
    ]
    environment = os.environ | {
        "PYTHON": sys.executable, "EDGE_APP_PYTHON": sys.executable, "XDG_CONFIG_HOME": str(tmp_path / "home"),
    }  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, umask=0)
    assert done.returncode == 0, done.stderr
    assert "development key" in done.stdout
    root = tmp_path / "root/userdata/edge-app"
    assert json.loads((root / "device.json").read_text())["board"] == "amd64"
    release, _ = slots.Slots(root, "boot-1").boot()
    assert bundle.damage(root / "releases" / release) is None
    assert (root / "updater/slots.py").is_file()
    modes = {name: (root / name).stat().st_mode & 0o777 for name in ("credentials", "data", "config", "device.json")}
    assert modes == {"credentials": 0o700, "data": 0o700, "config": 0o755, "device.json": 0o644}
    text = (tmp_path / "root/etc/init.d/S99edge-app").read_text()
    assert "ROOT=${EDGE_APP_ROOT:-/userdata/edge-app}" in text
    again = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert release in again.stdout
    assert slots.Slots(root, "boot-1").state().trial is not None


def test_deploy_local_prepares_a_systemd_board_and_bundle_only_builds_the_same_release(tmp_path, keys):
    (tmp_path / "root/usr/lib/systemd").mkdir(parents=True)
    (tmp_path / "root/usr/lib/systemd/systemd").touch()
    config = tmp_path / "mine.yaml"
    config.write_text("source: {type: synthetic}\n")
    common = ["--board", "arm64", "--no-wheels", "--key", keys["ours"]]
    environment = os.environ | {"PYTHON": sys.executable, "EDGE_APP_PYTHON": sys.executable}
    for more in (["--local", tmp_path / "root", "--config", config], ["--bundle-only", tmp_path / "file.bundle"]):
        subprocess.run([PROJECT / "deploy.sh", *more, *common], env=environment, check=True, capture_output=True)
    root, system = tmp_path / "root/opt/edge-app", tmp_path / "root/etc/systemd/system"
    (release,) = (root / "releases").iterdir()
    assert release.name == build.manifest_of((tmp_path / "file.bundle").read_bytes()).release
    assert (system / "multi-user.target.wants/edge-app.service").resolve() == system / "edge-app.service"
    assert str((root / "data").readlink()) == "/var/lib/edge-app"
    assert (tmp_path / "root/etc/udev/rules.d/99-edge-app.rules").is_file()
    assert json.loads((root / "device.json").read_text())["wipe"] == ["/var/lib/edge-app", "/opt/edge-app/credentials"]
    slots.Slots(root, "boot-1").boot()
    assert (root / "config/config.yaml").read_text() == config.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [([], "no camera named"), (["--speed", "root@x"], "unknown option --speed"), (["a", "b"], "second camera"),
     (["--local"], "found no value"), (["--bundle-only", "x"], "expected --board"),
     (["--key", "/nowhere.pem", "root@x"], "/nowhere.pem: no such file"),
     (["--config", "/nowhere.yaml", "root@x"], "/nowhere.yaml: no such file")],
)  # fmt: skip
def test_deploy_reports_wrong_arguments(arguments, message):
    done = subprocess.run([PROJECT / "deploy.sh", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert message in done.stderr


def test_every_board_has_a_list_of_wheels():
    for board in BOARDS.values():
        lines = (FIRMWARE / f"wheels/{board.wheels}.txt").read_text().splitlines()
        pins = [line for line in lines if not line.startswith("#")]
        assert pins
        assert all("==" in pin for pin in pins)
