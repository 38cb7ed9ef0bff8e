"""Layers of random networks: each has random settings and weights, and the size of its map is recorded."""

from __future__ import annotations

import numpy as np

from tests.compiler.graphs import Graph


class RandomLayers(Graph):
    """Adds single layers. sizes: (channels, height, width) of every map."""

    def __init__(self, seed: int):
        super().__init__(seed)
        self.sizes: dict[str, tuple[int, int, int]] = {}

    def pick(self, *options):
        return options[int(self.rng.integers(len(options)))]

    def add(self, op, *inputs, size, **attributes):
        name = self.node(op, *inputs, **attributes)
        self.sizes[name] = size
        return name

    def floats(self, *shape, scale=1.0):
        return self.weight((self.rng.normal(size=shape) * scale).astype(np.float32))

    def integers(self, *values):
        return self.weight(np.array(values, np.int64))

    def window(self, x, op, channels, kernel, stride, dilation=1, pads=None, ceil=False, **attributes):
        """Conv or pooling. Returns None if the kernel does not fit."""
        _, *sides = self.sizes[x]
        kernels = kernel if isinstance(kernel, tuple) else (kernel, kernel)
        spans = [(k - 1) * dilation + 1 for k in kernels]
        same = [(span - 1) // 2 for span in spans]
        pads = pads or [*same, *same]
        auto = attributes.get("auto_pad", "")
        if auto.startswith("SAME"):
            out = [-(-n // stride) for n in sides]
        else:
            pads = [0] * 4 if auto == "VALID" else pads
            padded = [n + pads[i] + pads[i + 2] - span for i, (n, span) in enumerate(zip(sides, spans))]
            if min(padded) < 0:
                return None
            out = [(-(-p // stride) if ceil else p // stride) + 1 for p in padded]
            # a window must not begin in the padding at the end
            if ceil:
                out = [n - ((n - 1) * stride >= side + pads[i]) for i, (n, side) in enumerate(zip(out, sides))]
        if not auto:
            attributes["pads"] = list(pads)
        attributes |= {"kernel_shape": list(kernels), "strides": [stride] * 2}
        if ceil:
            attributes["ceil_mode"] = 1
        if dilation > 1:
            attributes["dilations"] = [dilation] * 2
        inputs = [x]
        if op == "Conv":
            group = attributes.setdefault("group", 1)
            fan = self.sizes[x][0] // group * kernels[0] * kernels[1]
            inputs += [
                self.floats(channels, self.sizes[x][0] // group, *kernels, scale=fan**-0.5),
                self.floats(channels, scale=0.1),
            ]
        return self.add(op, *inputs, size=(channels, *out), **attributes)

    def conv(self, x, outputs, kernel=3, stride=1, groups=1, **options):
        made = self.window(x, "Conv", outputs, kernel, stride, group=groups, **options)
        return made or self.window(x, "Conv", outputs, 1, stride, group=groups)

    def pool(self, x, kernel, stride, **options):
        op = self.pick("MaxPool", "AveragePool")
        if op == "AveragePool":
            options["count_include_pad"] = int(self.rng.integers(2))
        return self.window(x, op, self.sizes[x][0], kernel, stride, **options)

    def activated(self, x):
        op = self.pick("Relu", "Sigmoid", "HardSwish", "LeakyRelu", "Clip", "PRelu")
        more = ()
        if op == "Clip":
            more = (self.weight(np.float32(0)), self.weight(np.float32(6)))
        if op == "PRelu":
            more = (self.floats(self.sizes[x][0], 1, 1),)
        if op == "HardSwish":
            gate = self.add("HardSigmoid", x, size=self.sizes[x])
            return self.add("Mul", x, gate, size=self.sizes[x])
        return self.add(op, x, *more, size=self.sizes[x])

    def focus(self, x):
        channels, height, width = self.sizes[x]
        end, parts = 2**31 - 1, []
        for row in range(2):
            for column in range(2):
                axis2 = self.add(
                    "Slice", x, self.integers(row), self.integers(end), self.integers(2), self.integers(2),
                    size=(channels, height // 2, width),
                )  # fmt: skip
                parts.append(self.add(
                    "Slice", axis2, self.integers(column), self.integers(end), self.integers(3), self.integers(2),
                    size=(channels, height // 2, width // 2),
                ))  # fmt: skip
        return self.add("Concat", *parts, size=(4 * channels, height // 2, width // 2), axis=1)

    def resized(self, x, scale):
        channels, height, width = self.sizes[x]
        size = (channels, int(height * np.float32(scale)), int(width * np.float32(scale)))
        mode = self.pick("nearest", "linear", "cubic")
        coordinates = self.pick("half_pixel", "asymmetric", "pytorch_half_pixel", "align_corners")
        attributes = {"nearest_mode": self.pick("floor", "round_prefer_floor", "ceil")} if mode == "nearest" else {}
        if mode == "cubic" and coordinates == "align_corners":
            coordinates = "half_pixel"
        scales = self.weight(np.array([1, 1, scale, scale], np.float32))
        attributes |= {"mode": mode, "coordinate_transformation_mode": coordinates}
        return self.add("Resize", x, "", scales, size=size, **attributes)

    def transposed(self, x):
        channels, height, width = self.sizes[x]
        kernel, pad, extra = self.pick((2, 0, 0), (4, 1, 0), (3, 1, 1), (3, 0, 0), (5, 2, 1))
        size = (channels, *(2 * (n - 1) + kernel - 2 * pad + extra for n in (height, width)))
        return self.add(
            "ConvTranspose", x, self.floats(channels, channels, kernel, kernel, scale=(channels * kernel) ** -0.5),
            size=size, kernel_shape=[kernel] * 2, strides=[2, 2], pads=[pad] * 4, output_padding=[extra] * 2,
        )  # fmt: skip

    def upsampled(self, x, factor):
        channels, height, width = self.sizes[x]
        kind = self.pick("resize", "resize", "transposed", "depth")
        if kind == "depth" and channels % 4 == 0:
            size = (channels // 4, height * 2, width * 2)
            return self.conv(self.add("DepthToSpace", x, size=size, blocksize=2), channels, kernel=1)
        return self.transposed(x) if kind == "transposed" and factor == 2 else self.resized(x, factor)
