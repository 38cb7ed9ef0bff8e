"""The boards that bundles are made for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Board:
    """One kind of device. target: whose graphs of a model folder it runs (`onnx`, or a Rockchip SoC).

    wheels: the list in wheels/ of what its distribution does not have. platform: pip's name of it.
    """

    target: str
    wheels: str
    platform: str
    backend: str


_LARGE = ("manylinux2014_aarch64", "rknn_lite")
BOARDS = {
    "amd64": Board("onnx", "onnx", "manylinux2014_x86_64", "onnx"),
    "arm64": Board("onnx", "onnx", "manylinux2014_aarch64", "onnx"),
    "rv1103": Board("rv1103", "rv110x", "any", "rknn_mrt"),
    "rv1106": Board("rv1106", "rv110x", "any", "rknn_mrt"),
    "rv1126b": Board("rv1126b", "rknn", *_LARGE),
    "rk3562": Board("rk3562", "rknn", *_LARGE),
    "rk3566": Board("rk3566", "rknn", *_LARGE),
    "rk3568": Board("rk3566", "rknn", *_LARGE),
    "rk3576": Board("rk3576", "rknn", *_LARGE),
    "rk3588": Board("rk3588", "rknn", *_LARGE),
}
