"""edge-app compile: ONNX files to a model folder. Host only."""

from __future__ import annotations

import argparse
from pathlib import Path

from edge_app.cli.arguments import HOST_ONLY, Commands, add_json
from edge_app.errors import ConfigError


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "compile",
        help="host only: compile ONNX files to a model folder",
        description="Fold, share, split, quantize and convert models, prove every pass, and write a model folder.",
    )
    parser.add_argument("models", nargs="*", type=Path, metavar="MODEL", help="ONNX files, or a model folder")
    parser.add_argument("--out", type=Path, metavar="DIR", help="the model folder to write, such as models/NAME")
    parser.add_argument(
        "--force", action="store_true", help="replace a folder that compile did not write; it is kept as DIR.backup"
    )
    parser.add_argument(
        "--into", type=Path, metavar="DIR", help="add the model to this folder, as a head that takes crops (--crops-of)"
    )
    parser.add_argument("--crops-of", metavar="HEAD", help="with --into: the head whose detections are cut out")
    parser.add_argument(
        "--align", choices=("box", "face5", "quad"),
        help="with --into: how crops are aligned: faces by their landmarks, or oriented boxes (default: box)",
    )  # fmt: skip
    parser.add_argument("--name", metavar="NAME", help="with --into: the name of the new head (default: the file's)")
    parser.add_argument("--input", metavar="WxH", help="resize the network's input (default: the size in the files)")
    parser.add_argument(
        "--calibrate",
        type=Path,
        action="append",
        default=[],
        metavar="CLIP|FOLDER",
        help="also quantize to int8, calibrated on these images; may be repeated",
    )
    parser.add_argument("--ranges", type=Path, metavar="FILE", help="int8 ranges of tensors, as `slim shrink` learns")
    parser.add_argument(
        "--target",
        default="onnx",
        metavar="LIST",
        help="targets or boards, such as onnx,ncnn,rv1106,rk3588 (default: onnx)",
    )
    parser.add_argument("--family", metavar="NAME", help="the head's family (default: recognized)")
    parser.add_argument("--version", metavar="NAME", help="the version of a YOLO, such as v5 (default: recognized)")
    parser.add_argument("--activation", metavar="NAME", help="what the head applies to scores (default: recognized)")
    parser.add_argument("--labels", metavar="FILE", help="a file with one label per line, or coco80")
    parser.add_argument("--mean", metavar="A,B,C", help="mean of the channels, 0..255, in the model's channel order")
    parser.add_argument("--std", metavar="A,B,C", help="standard deviation of the channels, 0..255, in the same order")
    parser.add_argument("--color", choices=("rgb", "bgr"), help="the model's channel order")
    resizes = ("letterbox", "stretch", "crop", "line")
    parser.add_argument("--resize", choices=resizes, help="how a frame is fitted to the input")
    parser.add_argument("--crop-fraction", metavar="X", help="of the short side, the part that --resize crop takes")
    parser.add_argument(
        "--cut", metavar="STRIDES", help="end backbone segments at these strides, such as 4,8,16; or none"
    )
    parser.add_argument("--npu-shapes", metavar="WxH,…", help="sizes of the crops that reuse computes on an NPU")
    parser.add_argument(
        "--precision", choices=("int8", "int16", "float16"), default="int8",
        help="what the NPUs compute with: int8 (default), int16 on rv1103 and rv1106, float16 on the others",
    )  # fmt: skip
    parser.add_argument("--rknn", type=Path, metavar="DIR", help="virtual environment of the RKNN converter")
    parser.add_argument("--setup-rknn", type=Path, metavar="DIR", help="create that virtual environment first (1.4 GB)")
    parser.add_argument("--pnnx", type=Path, metavar="DIR", help="virtual environment of pnnx, the converter for ncnn")
    parser.add_argument("--setup-pnnx", type=Path, metavar="DIR", help="create that virtual environment first (110 MB)")
    add_json(parser)
    parser.set_defaults(command=_compile)


def _compile(arguments: argparse.Namespace) -> int:
    try:
        from edge_app.compiler import command
    except ImportError as exc:
        if exc.name in HOST_ONLY:
            raise
        from edge_app.options.extras import install

        raise ConfigError(f"compile needs the library {exc.name}; expected: {install('compiler')}") from exc

    from edge_app import boards

    arguments.target = boards.targets_of(arguments.target)
    return command.run(arguments)
