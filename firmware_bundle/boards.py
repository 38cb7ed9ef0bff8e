"""The boards that bundles are built for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Board:
    """One kind of device. target: which graphs of a model folder it runs (`onnx`, `ncnn`, or a Rockchip SoC).

    wheels: the list in wheels/ of the packages that its distribution lacks. machine: the platform in wheel names; "" if
    there are pure Python wheels only. backend: as in config.yaml. also: a second target that its configuration may use.
    """

    target: str
    wheels: str
    machine: str
    backend: str
    also: str = ""

    @property
    def platforms(self) -> list[str]:
        """The platform names of pip, for glibc 2.28 and newer; 2.31 on 32-bit ARM, for which no older wheels exist."""
        newest = "manylinux_2_31" if self.machine == "armv7l" else "manylinux_2_28"
        return [f"{each}_{self.machine}" for each in (newest, "manylinux_2_27", "manylinux2014")]


_LARGE = ("aarch64", "rknn_lite")
BOARDS = {
    "amd64": Board("onnx", "onnx", "x86_64", "onnx", also="int8"),
    "arm64": Board("onnx", "onnx", "aarch64", "onnx", also="int8"),
    "armhf": Board("ncnn", "ncnn", "armv7l", "ncnn"),
    "rv1103": Board("rv1103", "rv110x", "", "rknn_mrt"),
    "rv1106": Board("rv1106", "rv110x", "", "rknn_mrt"),
    "rv1126b": Board("rv1126b", "rknn", *_LARGE),
    "rk3562": Board("rk3562", "rknn", *_LARGE),
    "rk3566": Board("rk3566", "rknn", *_LARGE),
    "rk3568": Board("rk3566", "rknn", *_LARGE),
    "rk3576": Board("rk3576", "rknn", *_LARGE),
    "rk3588": Board("rk3588", "rknn", *_LARGE),
}
