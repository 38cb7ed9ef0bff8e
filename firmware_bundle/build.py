#!/usr/bin/env python3
"""Build a signed bundle of this checkout and a model, for one board. The same input gives the same bytes.

    python3 firmware_bundle/build.py key ~/.config/edge-app/signing.pem
    python3 firmware_bundle/build.py wheels --board rk3588 --out wheels/
    python3 firmware_bundle/build.py bundle --board rk3588 --model models/digits --key … --wheels wheels/ --out FILE

Only the signature differs between two builds. Needs python3-yaml and openssl; `wheels` needs python3-pip.
Not here: how a device reads the format (updater/bundle.py).
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent
sys.path.insert(0, str(HERE / "updater"))

import boards  # noqa: E402
import bundle as format_  # noqa: E402  (part of the updater, which devices get without this file)
import durable  # noqa: E402
import libraries  # noqa: E402
from boards import Board  # noqa: E402

HOST_ONLY = ("bench", "compiler", "evaluation", "slim")
EDITORS_ONLY = "edge_app/config/config.schema.json"
SCHEMAS = {"config": 1, "outbox": 1}


class BuildError(Exception):
    """A bundle cannot be built: one line with what was found and what was expected."""


def release_files(board: Board, model: Path, wheels: Path | None, config: Path | None) -> dict[str, tuple[bytes, bool]]:
    """All files of a release: by path, the bytes and whether the file is executable. Raises BuildError."""
    files = {f"lib/{name}": (data, False) for name, data in _package()}
    files |= {f"models/{model.name}/{name}": ((model / name).read_bytes(), False) for name in model_files(model, board)}
    for wheel in sorted(wheels.glob("*.whl")) if wheels else ():
        files |= {f"lib/{name}": (data, False) for name, data in _wheel(wheel)}
    text = (config or HERE / "release/config.yaml").read_text(encoding="utf-8")
    for word, value in {"@MODEL@": model.name, "@BACKEND@": board.backend}.items():
        text = text.replace(word, value)
    files["config.yaml"] = text.encode(), False
    for name in ("edge-app", "start"):
        files[name] = (HERE / "release" / name).read_bytes(), True
    return files


def model_files(model: Path, board: Board) -> list[str]:
    """The files of a model folder that a board needs: manifest, graphs of its target, labels, golden vectors.

    The files of a second target (int8) are included if the model has all of them.
    """
    try:
        import yaml
    except ImportError:
        raise BuildError("the library yaml is missing; expected the Debian package python3-yaml") from None
    path = model / "model.yaml"
    try:
        manifest = yaml.safe_load(path.read_text(encoding="utf-8"))
        heads = manifest["heads"].values()
        backbone = manifest.get("backbone", {}).get("graphs", [])
        graphs = [*backbone[:1], *(h["graph"] for h in heads if "graph" in h)]
        whole = [
            *graphs,
            *(part for part in backbone[1:] if board.target in part),
        ]  # else the first graph is the whole backbone
        fused = manifest.get("fused", {})
        names = {graph.get(board.target) for graph in whole} | {fused.get(board.target, "model.yaml")}
        if all(board.also in graph for graph in whole):
            names |= {graph[board.also] for graph in whole} | {fused.get(board.also, "model.yaml")}
        shaped = manifest.get("shapes", {}).get(board.target, {})
        steps = [*shaped.get("backbone", []), *shaped.get("heads", {}).values()]
        names |= {shape["file"] for step in steps for shape in step}
        labels = {head["labels"] for head in heads if isinstance(head.get("labels"), str)}
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError) as exc:
        raise BuildError(f"{path}: cannot be used: {exc}; expected a model folder") from None
    if None in names:
        raise BuildError(f"{path}: a graph has no file for {board.target}; expected the model compiled for it")
    names |= {f"{name.removesuffix('.param')}.bin" for name in names if name.endswith(".param")}  # ncnn's weights
    names |= {"model.yaml", *(name for name in (*labels, "golden.npz") if (model / name).is_file())}
    missing = sorted(name for name in names if not (model / name).is_file())
    if missing:
        raise BuildError(f"{model / missing[0]}: missing; expected every file that model.yaml names")
    return sorted(names)


def pack(files: Mapping[str, tuple[bytes, bool]], fields: Mapping[str, Any], key: Path) -> bytes:
    """Pack and sign files. fields: version, board, and other manifest fields that differ from the defaults."""
    ordered = sorted(files)
    deflate = zlib.compressobj(6)  # level 9 takes three times as long and saves 1 %
    payload = b"".join(deflate.compress(files[name][0]) for name in ordered) + deflate.flush()
    manifest = {
        "format": format_.FORMAT,
        "product": format_.PRODUCT,
        "minimum_version": "0.0",
        "allow_older": False,
        "schemas": SCHEMAS,
        **fields,
        "payload_bytes": len(payload),
        "payload_sha256": hashlib.sha256(payload).hexdigest(),
        "files": [_described(name, *files[name]) for name in ordered],
    }
    return seal(json.dumps(manifest, indent=0, sort_keys=True).encode(), payload, key)


def seal(manifest: bytes, payload: bytes, key: Path) -> bytes:
    """Sign the manifest and join the parts. Raises BuildError if the key cannot sign."""
    command = ["openssl", "dgst", "-sha256", "-sign", str(key)]
    signed = subprocess.run(command, input=manifest, capture_output=True, check=False)
    if signed.returncode:
        raise BuildError(f"{key}: cannot sign: {signed.stderr.decode(errors='replace').splitlines()[:1]}")
    sizes = f"{len(manifest)} {len(signed.stdout)}\n".encode()
    return format_.MAGIC + sizes + manifest + signed.stdout + payload


def manifest_of(data: bytes) -> format_.Manifest:
    """Read the manifest of a bundle without checking its signature. Raises UpdateError."""
    return format_.parse(format_.read_signed(io.BytesIO(data))[0])


def make_key(private: Path) -> Path:
    """Generate an ECDSA P-256 key pair; only the owner can read `private`. Returns the path of the public key.

    Keep the private key on the release machine or in a vault, never in a checkout or on a camera.
    """
    public = private.with_suffix(".pub.pem")
    private.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.close(os.open(private, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        raise BuildError(f"{private}: exists; expected a new file: keys are never overwritten") from None
    command = ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", str(private)]
    subprocess.run(command, check=True, capture_output=True)
    subprocess.run(["openssl", "pkey", "-in", str(private), "-pubout", "-out", str(public)], check=True)
    return public


def fetch_wheels(board: Board, python: str, folder: Path, configs: Sequence[Path] = ()) -> None:
    """Download the wheels that wheels/ lists for a board and for what configurations enable.

    python: the version on the board, for example `3.11`. configs: config.yaml of the cameras.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--python-version", python, *(f"--platform={each}" for each in board.platforms), "-d", str(folder)]
    asked = {extra.wheels for path in configs for extra in libraries.extras(_configuration(path), board)}
    for name in (board.wheels, *sorted(asked)):
        done = subprocess.run([*command, "-r", HERE / f"wheels/{name}.txt"], check=False)
        if done.returncode:
            where = f"for {board.machine}, Python {python}"
            raise BuildError(f"wheels/{name}.txt: pip could not download all wheels {where}")


def check_configs(name: str, board: Board, wheels: Path | None, configs: Sequence[Path]) -> None:
    """Raises BuildError if a release could not run one of these configurations on the board.

    name: of the board, for the message. wheels: None if the board has all libraries, so that none are checked.
    """
    for path in configs:
        config = _configuration(path)
        libraries.check(config, path, name, board)
        for problem in libraries.missing(config, board, sorted(wheels.glob("*.whl"))) if wheels else ():
            raise BuildError(f"{wheels}: {problem}; run `build.py wheels --board {name} --config {path}`")


def find_board(name: str) -> tuple[str, Board]:
    """The name that bundles for a board have, and its properties. name: also an alias. Raises BuildError."""
    found = _look_up(boards.find, name)
    return found.bundle, boards.bundles()[found.bundle]


def name_board(name: str) -> str:
    """The same name, with the table's note about the board on stderr. "-": as stdin describes it. Raises BuildError."""
    text = sys.stdin.read() if name == "-" else ""
    found = _look_up(boards.detect, text) if name == "-" else _look_up(boards.find, name)
    if found is None:
        shown = " ".join(text.split())[:200]
        raise BuildError(f"found an unknown board ({shown}); expected --board NAME")
    if found.note:
        print(f"{found.name}: {found.note}", file=sys.stderr)
    bundle: str = found.bundle
    return bundle


def _configuration(path: Path) -> Mapping[str, Any]:
    try:
        return libraries.read(path)
    except ImportError:
        raise BuildError("the library yaml is missing; expected the Debian package python3-yaml") from None


def _look_up(look_up: Callable[[str], Any], text: str) -> Any:
    try:
        return look_up(text)
    except ImportError:
        raise BuildError("the library yaml is missing; expected the Debian package python3-yaml") from None
    except Exception as exc:
        from edge_app.errors import EdgeError

        if not isinstance(exc, EdgeError):
            raise
        raise BuildError(str(exc)) from None


def project_version() -> str:
    text = (PROJECT / "edge_app/__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "(.*)"$', text, re.MULTILINE)
    assert found is not None
    return found[1]


def _package() -> Iterator[tuple[str, bytes]]:
    for path in sorted((PROJECT / "edge_app").rglob("*")):
        name = path.relative_to(PROJECT)
        hidden = any(part == "__pycache__" or part.startswith(".") for part in name.parts)
        host_only = name.parts[1] in HOST_ONLY or path.suffix in (".md", ".png") or name.as_posix() == EDITORS_ONLY
        if path.is_file() and not hidden and not host_only:
            data = path.read_bytes()
            yield name.as_posix(), without_docstrings(data) if path.suffix == ".py" else data


def without_docstrings(source: bytes) -> bytes:
    """Python source without the docstrings of functions, a tenth of its bytes. Line numbers stay.

    Those of modules and classes are the texts of `edge-app options`.
    """
    lines = source.decode().split("\n")
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
            and ast.get_docstring(node, clean=False) is not None
        ):
            doc = node.body[0]
            assert doc.end_lineno is not None
            if lines[doc.lineno - 1].lstrip().startswith('"""'):  # not on the line of `def`
                kept = " " * doc.col_offset + "..." if len(node.body) == 1 else ""
                lines[doc.lineno - 1 : doc.end_lineno] = [kept] + [""] * (doc.end_lineno - doc.lineno)
    return "\n".join(lines).encode()


def _wheel(path: Path) -> Iterator[tuple[str, bytes]]:
    """The importable files of a wheel, without scripts and other data."""
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if not name.endswith("/") and ".data/" not in name:
                yield name, archive.read(name)


def _described(path: str, data: bytes, executable: bool) -> dict[str, object]:
    digest = hashlib.sha256(data).hexdigest()
    return {"path": path, "bytes": len(data), "sha256": digest, "executable": executable}


def _bundle(arguments: argparse.Namespace) -> None:
    name, board = find_board(arguments.board)
    own = [arguments.config] if arguments.config else []
    check_configs(name, board, arguments.wheels, [*own, *arguments.camera_config])
    files = release_files(board, arguments.model.resolve(), arguments.wheels, arguments.config)
    fields = {
        "version": arguments.version or project_version(),
        "board": name,
        "minimum_version": arguments.minimum_version,
        "allow_older": arguments.allow_older,
    }
    data = pack(files, fields, arguments.key)
    manifest_of(data)  # fail here instead of on the device
    arguments.out.write_bytes(data)
    unpacked = sum(len(content) for content, _ in files.values())
    print(f"{arguments.out}: {len(data):,} bytes, {len(files)} files, {unpacked:,} bytes unpacked")


def main(argv: list[str] | None = None) -> int:
    """Run one command. Exit codes: 0 done, 2 the user can fix it (one line on stderr)."""
    parser = argparse.ArgumentParser(prog="build.py", description="Generate keys and build signed bundles.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    make = commands.add_parser("bundle", help="build a signed bundle of this checkout and a model")
    make.add_argument("--board", required=True, metavar="NAME", help="of edge_app/boards/boards.yaml")
    make.add_argument("--model", type=Path, default=PROJECT / "models/digits", metavar="DIR")
    make.add_argument("--key", type=Path, required=True, metavar="FILE", help="private, PEM")
    make.add_argument("--wheels", type=Path, metavar="DIR", help="the folder that `build.py wheels` filled")
    make.add_argument(
        "--config", type=Path, metavar="FILE", help="default configuration, instead of release/config.yaml"
    )
    make.add_argument(
        "--camera-config", type=Path, action="append", default=[], metavar="FILE",
        help="config.yaml of a camera that will run the release: checked, not packed; repeat for more cameras",
    )  # fmt: skip
    make.add_argument("--version", metavar="V", help="default: the version of the package")
    make.add_argument(
        "--minimum-version", default="0.0", metavar="V", help="oldest release that it can be installed over"
    )
    make.add_argument("--allow-older", action="store_true", help="allow it to replace a newer release")
    make.add_argument("--out", type=Path, required=True, metavar="FILE")
    key = commands.add_parser("key", help="generate a signing key; the public key is written next to it")
    key.add_argument("private", type=Path)
    board = commands.add_parser("board", help="print the name that bundles for a board have")
    board.add_argument(
        "board", metavar="NAME", help="a name or alias of edge_app/boards/boards.yaml; -: read from stdin"
    )
    name = commands.add_parser("name", help="print the release name that a bundle gets on the device")
    name.add_argument("bundle", type=Path)
    wheels = commands.add_parser("wheels", help="download the libraries that the distribution of a board lacks")
    wheels.add_argument("--board", required=True, metavar="NAME", help="of edge_app/boards/boards.yaml")
    wheels.add_argument("--python", default="3.11", metavar="V", help="Python version on the board, default: 3.11")
    wheels.add_argument(
        "--config",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="also for what this configuration enables",
    )
    wheels.add_argument("--out", type=Path, required=True, metavar="DIR")
    arguments = parser.parse_args(argv)
    try:
        if arguments.command == "bundle":
            _bundle(arguments)
        elif arguments.command == "name":
            print(manifest_of(durable.read_file(arguments.bundle, format_.MAX_BUNDLE)).release)
        elif arguments.command == "board":
            print(name_board(arguments.board))
        elif arguments.command == "key":
            print(make_key(arguments.private))
        else:
            fetch_wheels(find_board(arguments.board)[1], arguments.python, arguments.out, arguments.config)
    except (BuildError, libraries.ConfigurationError, format_.UpdateError, OSError) as exc:
        print(exc, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
