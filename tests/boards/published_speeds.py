"""Frames per second that Rockchip publishes for public networks, and the layers of these networks.

Source: README.md of github.com/airockchip/rknn_model_zoo, commit bad6c733: INT8, one core, NPU at its highest clock,
inference only. The layers are written down from the networks' published definitions (torchvision, Ultralytics).
"""

from __future__ import annotations

from collections.abc import Callable

from edge_app.model.cycles import Layer, global_average

PUBLISHED = {  # mobilenetv2, resnet50, yolov5n, yolov5s, yolov5m, yolov8n, yolov8s, yolov8m
    "rk3566": (180.7, 37.9, 39.7, 19.3, 8.6, 34.0, 15.1, 6.5),
    "rk3568": (180.7, 37.9, 39.7, 19.3, 8.6, 34.0, 15.1, 6.5),
    "rk3562": (281.3, 54.9, 47.4, 23.6, 10.8, 40.9, 18.4, 8.2),
    "rk3588": (450.7, 110.1, 82.5, 48.4, 20.9, 73.5, 38.0, 16.2),
    "rk3576": (467.0, 99.0, 112.7, 57.5, 23.7, 90.2, 40.8, 16.7),
}
MILLION_MACS = (301, 4089, 2234, 8217, 24436, 4371, 14301, 39468)


class Builder:
    """The convolutions of a network. Maps are square: `side`."""

    def __init__(self) -> None:
        self.layers: list[Layer] = []

    def conv(self, inputs, outputs, side, kernel=1, stride=1, groups=1, *, addend=False, image=False):
        """Add one convolution with padding. Returns the side of its output."""
        out = side // stride
        kind = "depthwise" if groups == inputs > 1 else "conv"
        shapes = (inputs, side, side), (outputs, out, out)
        self.layers.append(Layer("", "Conv", kind, *shapes, (kernel, kernel), groups, addend, image))
        return out

    def pool(self, channels, side):
        self.layers += global_average("", "GlobalAveragePool", (channels, side, side))


def mobilenetv2():
    net, channels = Builder(), 32
    side = net.conv(3, 32, 224, 3, 2, image=True)
    stages = (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)
    for expand, outputs, blocks, first in stages:
        for block in range(blocks):
            wide, stride = channels * expand, 1 if block else first
            if expand > 1:
                net.conv(channels, wide, side)
            side = net.conv(wide, wide, side, 3, stride, wide)
            net.conv(wide, outputs, side, addend=block > 0)
            channels = outputs
    net.conv(320, 1280, side)
    net.pool(1280, side)
    net.conv(1280, 1000, 1)
    return net.layers


def resnet50():
    net, channels = Builder(), 64
    side = net.conv(3, 64, 224, 7, 2, image=True) // 2
    for blocks, width, first in (3, 64, 1), (4, 128, 2), (6, 256, 2), (3, 512, 2):
        for block in range(blocks):
            stride = 1 if block else first
            net.conv(channels, width, side)
            out = net.conv(width, width, side, 3, stride)
            net.conv(width, 4 * width, out, addend=True)
            if not block:
                net.conv(channels, 4 * width, side, 1, stride)
            side, channels = out, 4 * width
    net.pool(2048, side)
    net.conv(2048, 1000, 1)
    return net.layers


def _c3(net, inputs, outputs, blocks, side, addend=True):
    half = outputs // 2
    net.conv(inputs, half, side)
    net.conv(inputs, half, side)
    for _ in range(blocks):
        net.conv(half, half, side)
        net.conv(half, half, side, 3, addend=addend)
    net.conv(2 * half, outputs, side)


def _c2f(net, inputs, outputs, blocks, side, addend=True):
    half = outputs // 2
    net.conv(inputs, 2 * half, side)
    for _ in range(blocks):
        net.conv(half, half, side, 3)
        net.conv(half, half, side, 3, addend=addend)
    net.conv((2 + blocks) * half, outputs, side)


def _yolo_backbone(net, channels, depths, block, stem):
    side = net.conv(3, channels[0], 640, stem, 2, image=True)
    for i, depth in enumerate(depths, 1):
        side = net.conv(channels[i - 1], channels[i], side, 3, 2)
        block(net, channels[i], channels[i], depth, side)
    net.conv(channels[4], channels[4] // 2, side)  # SPPF
    net.conv(channels[4] * 2, channels[4], side)


def yolov5(width, depth):
    net, c = Builder(), [round(n * width) for n in (64, 128, 256, 512, 1024)]
    blocks = [max(round(n * depth), 1) for n in (3, 6, 9)]
    _yolo_backbone(net, c, [*blocks, blocks[0]], _c3, 6)
    net.conv(c[4], c[3], 20)
    _c3(net, c[3] * 2, c[3], blocks[0], 40, addend=False)
    net.conv(c[3], c[2], 40)
    _c3(net, c[2] * 2, c[2], blocks[0], 80, addend=False)
    net.conv(c[2], c[2], 80, 3, 2)
    _c3(net, c[2] * 2, c[3], blocks[0], 40, addend=False)
    net.conv(c[3], c[3], 40, 3, 2)
    _c3(net, c[3] * 2, c[4], blocks[0], 20, addend=False)
    for channels, side in zip(c[2:], (80, 40, 20)):
        net.conv(channels, 255, side)
    return net.layers


def yolov8(width, depth, most):
    net, c = Builder(), [round(min(n, most) * width) for n in (64, 128, 256, 512, 1024)]
    blocks = [max(round(n * depth), 1) for n in (3, 6)]
    _yolo_backbone(net, c, [blocks[0], blocks[1], blocks[1], blocks[0]], _c2f, 3)
    _c2f(net, c[4] + c[3], c[3], blocks[0], 40, addend=False)
    _c2f(net, c[3] + c[2], c[2], blocks[0], 80, addend=False)
    net.conv(c[2], c[2], 80, 3, 2)
    _c2f(net, c[2] + c[3], c[3], blocks[0], 40, addend=False)
    net.conv(c[3], c[3], 40, 3, 2)
    _c2f(net, c[3] + c[4], c[4], blocks[0], 20, addend=False)
    for channels, side in zip(c[2:], (80, 40, 20)):
        for hidden, outputs in (64, 64), (max(c[2], 80), 80):
            net.conv(channels, hidden, side, 3)
            net.conv(hidden, hidden, side, 3)
            net.conv(hidden, outputs, side)
    return net.layers


NETWORKS: tuple[Callable[[], list[Layer]], ...] = (
    mobilenetv2,
    resnet50,
    lambda: yolov5(0.25, 0.33),
    lambda: yolov5(0.5, 0.33),
    lambda: yolov5(0.75, 0.67),
    lambda: yolov8(0.25, 0.33, 1024),
    lambda: yolov8(0.5, 0.33, 1024),
    lambda: yolov8(0.75, 0.67, 768),
)
