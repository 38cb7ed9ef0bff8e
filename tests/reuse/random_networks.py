"""Small random networks of the kinds that public models have: odd sizes, unpadded ends, global operations."""

from __future__ import annotations

import numpy as np

from edge_app.compiler import canonical, net
from edge_app.compiler.net import Net
from edge_app.errors import ModelError
from tests.reuse.random_layers import RandomLayers


class RandomNetwork(RandomLayers):
    """Builds one network: downsampling and blocks in turn, then the ends. Not here: layers (random_layers.py)."""

    def __init__(self, seed: int):
        super().__init__(seed)
        self.unusual_share = float(self.rng.choice([0.0, 0.1, 0.4]))
        sides = (32, 48, 64, 80, 96, 112, 128) if self.rng.random() < 0.5 else range(24, 130)
        height, width = (int(self.rng.choice(np.array(sides))) for _ in range(2))
        self.sizes["image"] = (3, height, width)

    def build(self) -> Net:
        x, levels = "image", []
        for _ in range(int(self.rng.integers(2, 6))):
            x = self.block(self.downsampled(x))
            levels.append(x)
        kind = self.pick("classifier", "classifier", "detector", "detector", "segmenter", "both")
        ends = self.detector(levels) if kind == "detector" else []
        if kind in ("segmenter", "both"):
            ends.append(self.segmenter(levels))
        if kind in ("classifier", "both"):
            ends.append(self.classifier(levels[-1]))
        _, height, width = self.sizes["image"]
        model = self.model({f"y{i}": end for i, end in enumerate(ends)}, shape=(1, 3, height, width))
        return canonical.canonicalize(net.from_model(model, "random"))

    def unusual(self) -> bool:
        return bool(self.rng.random() < self.unusual_share)

    def downsampled(self, x):
        _, height, width = self.sizes[x]
        target = int(self.pick(4, 8, 12))
        kinds = ["conv", "conv", "conv", "pool"]
        if self.unusual():
            kinds = ["valid", "same", "asymmetric", "focus", "space", "resize", "ceil", "pad", "large", "narrow"]
        made = self._down(self.pick(*kinds), x, target)
        if made is None:
            made = self.conv(x, target, stride=2 if min(height, width) > 3 else 1)
        return self.activated(made)

    def _down(self, kind, x, channels):
        _, height, width = self.sizes[x]
        if kind == "conv":
            return self.conv(x, channels, kernel=self.pick(1, 3, 5, 7), stride=2)
        if kind == "pool":
            kernel = self.pick(2, 3)
            made = self.pool(x, kernel, 2, pads=[kernel // 2 * (kernel % 2)] * 4)
        elif kind == "ceil":
            made = self.pool(x, self.pick(2, 3), 2, pads=[0] * 4, ceil=True)
        elif kind == "valid":
            made = self.window(x, "Conv", channels, self.pick(2, 3, 5), self.pick(1, 2), auto_pad="VALID", group=1)
        elif kind == "same":
            made = self.window(
                x, "Conv", channels, self.pick(2, 3, 5), self.pick(1, 2), group=1,
                dilation=1, auto_pad=self.pick("SAME_UPPER", "SAME_LOWER"),
            )  # fmt: skip
        elif kind == "asymmetric":
            pads = [int(self.rng.integers(3)) for _ in range(4)]
            made = self.conv(x, channels, kernel=self.pick(3, 5, (3, 5)), stride=self.pick(1, 2), pads=pads)
        elif kind == "large":
            made = self.conv(x, channels, kernel=self.pick(9, 11), stride=4, pads=[self.pick(0, 2, 5)] * 4)
        elif kind == "narrow":
            made = self.conv(x, channels, kernel=self.pick((1, 7), (7, 1), (3, 5)))
        elif kind == "pad":
            mode = self.pick("constant", "edge", "reflect")
            pads = [0, 0, *self.pick((1, 1), (0, 0), (2, 1)), 0, 0, 1, 1]
            size = (self.sizes[x][0], height + pads[2] + pads[6], width + pads[3] + pads[7])
            padded = self.add("Pad", x, self.integers(*pads), size=size, mode=mode)
            made = self.window(padded, "MaxPool", self.sizes[x][0], 3, 2, pads=[0] * 4)
        elif kind == "focus" and height % 2 == width % 2 == 0:
            made = self.focus(x)
        elif kind == "space" and height % 2 == width % 2 == 0:
            size = (self.sizes[x][0] * 4, height // 2, width // 2)
            made = self.add("SpaceToDepth", x, size=size, blocksize=2)
        elif kind == "resize" and min(height, width) > 1:
            made = self.resized(x, 0.5)
        else:
            made = None
        return made if made is None or self.sizes[made][0] <= 24 else self.conv(made, channels, kernel=1)

    # -- blocks that keep the size

    def block(self, x):
        kinds = ["residual", "depthwise", "plain", "branches", "none"]
        if self.unusual():
            kinds = [
                "excite", "instance", "grid", "shuffle", "attention", "spatial", "softmax", "dilated", "coordinates",
                "hourglass", "layer", "mean", "unpadded branch", "dense", "transposed",
            ]  # fmt: skip
        kind = self.pick(*kinds)
        return getattr(self, f"_{kind.replace(' ', '_')}")(x)

    def _none(self, x):
        return x

    def _plain(self, x):
        return self.activated(self.conv(x, self.sizes[x][0], kernel=self.pick(1, 3)))

    def _residual(self, x):
        y = self.activated(self.conv(x, self.sizes[x][0]))
        return self.add("Add", x, self.conv(y, self.sizes[x][0]), size=self.sizes[x])

    def _depthwise(self, x):
        channels = self.sizes[x][0]
        y = self.activated(self.conv(x, channels, kernel=self.pick(3, 5), groups=channels))
        return self.conv(y, channels, kernel=1)

    def _dilated(self, x):
        return self.activated(self.conv(x, self.sizes[x][0], dilation=self.pick(2, 3)))

    def _branches(self, x):
        channels, *sides = self.sizes[x]
        parts = [self.conv(x, 4, kernel=self.pick(1, 3, 5)) for _ in range(2)]
        parts.append(self.pool(x, 3, 1, pads=[1] * 4))
        joined = self.add("Concat", *parts, size=(8 + channels, *sides), axis=1)
        return self.conv(joined, channels, kernel=1)

    def _unpadded_branch(self, x):
        """Two branches of one odd size: a pooling and a convolution that count cells differently."""
        channels, height, width = self.sizes[x]
        if min(height, width) < 5:
            return x
        a = self.window(x, "MaxPool", channels, 3, 2, pads=[0] * 4)
        b = self.conv(x, channels, kernel=2, stride=2, pads=[0] * 4)
        if self.sizes[a] != self.sizes[b]:
            return a
        return self.add("Add", a, b, size=self.sizes[a])

    def _dense(self, x):
        channels, *sides = self.sizes[x]
        y = self.activated(self.conv(x, 4))
        return self.add("Concat", x, y, size=(channels + 4, *sides), axis=1)

    def _excite(self, x):
        channels = self.sizes[x][0]
        pooled = self.add("GlobalAveragePool", x, size=(channels, 1, 1))
        gate = self.add("Sigmoid", self.conv(pooled, channels, kernel=1), size=(channels, 1, 1))
        return self.add("Mul", x, gate, size=self.sizes[x])

    def _spatial(self, x):
        """Spatial attention of CBAM: the channels' mean gates the map."""
        channels, *sides = self.sizes[x]
        mean = self.add("ReduceMean", x, size=(1, *sides), axes=[1], keepdims=1)
        gate = self.add("Sigmoid", self.conv(mean, 1, kernel=7), size=(1, *sides))
        return self.add("Mul", x, gate, size=(channels, *sides))

    def _mean(self, x):
        channels, *sides = self.sizes[x]
        axes = self.pick([2], [3], [2, 3], [-1])
        reduced = (channels, *(1 if axis in (i - 4, i) else n for i, n in enumerate(sides, 2) for axis in axes[:1]))
        if len(axes) == 2:
            reduced = (channels, 1, 1)
        mean = self.add("ReduceMean", x, size=reduced, axes=axes, keepdims=1)
        return self.add("Sub", x, mean, size=(channels, *sides))

    def _instance(self, x):
        channels = self.sizes[x][0]
        return self.add(
            "InstanceNormalization", x, self.floats(channels), self.floats(channels), size=self.sizes[x], epsilon=1e-3
        )

    def _layer(self, x):
        """LayerNorm over channels, written out, as ConvNeXt's."""
        channels, *sides = self.sizes[x]
        mean = self.add("ReduceMean", x, size=(1, *sides), axes=[1], keepdims=1)
        centered = self.add("Sub", x, mean, size=self.sizes[x])
        square = self.add("Mul", centered, centered, size=self.sizes[x])
        variance = self.add("ReduceMean", square, size=(1, *sides), axes=[1], keepdims=1)
        deviation = self.add(
            "Sqrt", self.add("Add", variance, self.weight(np.float32(0.1)), size=(1, *sides)), size=(1, *sides)
        )
        return self.add("Div", centered, deviation, size=(channels, *sides))

    def _grid(self, x):
        """A constant for each cell, as a position embedding."""
        shape = self.pick(self.sizes[x], (1, *self.sizes[x]), self.sizes[x][1:], (1, 1, self.sizes[x][2]))
        return self.add("Add", x, self.floats(*shape), size=self.sizes[x])

    def _coordinates(self, x):
        channels, *sides = self.sizes[x]
        joined = self.add("Concat", x, self.floats(1, 2, *sides), size=(channels + 2, *sides), axis=1)
        return self.conv(joined, channels)

    def _shuffle(self, x):
        channels, height, width = self.sizes[x]
        if channels % 2:
            return x
        y = self.reshape(x, 1, 2, channels // 2, height, width)
        y = self.node("Transpose", y, perm=[0, 2, 1, 3, 4])
        y = self.reshape(y, 1, channels, height, width)
        self.sizes[y] = self.sizes[x]
        return self.conv(y, channels)

    def _attention(self, x):
        channels, height, width = self.sizes[x]
        cells = self.reshape(x, 1, channels, height * width)
        keys = self.node("Softmax", self.node("MatMul", self.node("Transpose", cells, perm=[0, 2, 1]), cells), axis=-1)
        mixed = self.node("MatMul", cells, keys)
        y = self.reshape(mixed, 1, channels, height, width)
        return self.add("Add", x, y, size=self.sizes[x])

    def _softmax(self, x):
        return self.add("Softmax", x, size=self.sizes[x], axis=int(self.pick(1, 2, 3, -1, -3)))

    def _hourglass(self, x):
        """Down by two, four or eight and up again, as in a pose network."""
        channels, height, width = self.sizes[x]
        factor = self.pick(2, 4, 8)
        if height % factor or width % factor:
            return x
        y = x
        while self.sizes[y][1] > height // factor:
            y = self.conv(y, channels, stride=2)
        y = self.resized(y, factor)
        return self.add("Add", x, y, size=self.sizes[x]) if self.sizes[y] == self.sizes[x] else x

    def _transposed(self, x):
        return self.transposed(self.conv(x, self.sizes[x][0], stride=2))

    # -- ends

    def classifier(self, x):
        channels, height, width = self.sizes[x]
        kind = self.pick("global", "average", "depthwise", "mean", "flatten", "max")
        if kind == "average":
            x = self.add("AveragePool", x, size=(channels, 1, 1), kernel_shape=[height, width])
        elif kind == "depthwise":
            x = self.conv(x, channels, kernel=(height, width), groups=channels, pads=[0] * 4)
        elif kind == "mean":
            return self.add("ReduceMean", x, size=(channels, 1, 1), axes=[2, 3], keepdims=0)
        elif kind in ("global", "max"):
            x = self.add("GlobalAveragePool" if kind == "global" else "GlobalMaxPool", x, size=(channels, 1, 1))
        if self.rng.random() < 0.3 and kind != "flatten":
            return self.conv(x, 5, kernel=1)
        inputs = channels * height * width if kind == "flatten" else channels
        flat = self.node("Flatten", x, axis=1)
        return self.node("Gemm", flat, self.floats(inputs, 5, scale=inputs**-0.5), self.floats(5, scale=0.1))

    def detector(self, levels):
        """Feature pyramid, and towers that give maps or rows."""
        maps = [self.conv(x, 8, kernel=1) for x in levels[-3:]]
        for i in range(len(maps) - 2, -1, -1):
            up = self.upsampled(maps[i + 1], 2)
            if self.sizes[up] == self.sizes[maps[i]]:
                maps[i] = self.conv(self.add("Add", maps[i], up, size=self.sizes[up]), 8)
        ends, as_rows = [], self.pick("maps", "maps", "rows", "rows", "flat", "joined")
        for x in maps:
            y = self.conv(self.activated(self.conv(x, 8)), 6, kernel=self.pick(1, 3))
            channels, height, width = self.sizes[y]
            if as_rows in ("rows", "joined"):
                y = self.reshape(self.node("Transpose", y, perm=[0, 2, 3, 1]), 1, height * width * 2, channels // 2)
            elif as_rows == "flat":
                y = self.node("Transpose", self.reshape(y, 1, channels, height * width), perm=[0, 2, 1])
            if as_rows != "maps" and self.rng.random() < 0.5:
                y = self.node("Sigmoid", y)
            ends.append(y)
        return [self.node("Concat", *ends, axis=1)] if as_rows == "joined" else ends

    def segmenter(self, levels):
        x = self.upsampled(self.conv(levels[-1], 8), self.pick(2, 2, 2, 3, 4, 1.5, 1.3))
        other = next((level for level in levels if self.sizes[level][1:] == self.sizes[x][1:]), None)
        if other is not None:
            size = (self.sizes[x][0] + self.sizes[other][0], *self.sizes[x][1:])
            x = self.add("Concat", x, other, size=size, axis=1)
        x = self.conv(x, 3)
        kind = self.pick("map", "softmax", "sigmoid", "argmax", "image")
        if kind == "softmax":
            return self.add("Softmax", x, size=self.sizes[x], axis=1)
        if kind == "argmax":
            return self.node("Cast", self.node("ArgMax", x, axis=1, keepdims=1), to=1)
        if kind == "image":  # back to the size of the image
            _, height, width = self.sizes["image"]
            sizes = self.integers(1, 3, height, width)
            return self.add("Resize", x, "", "", sizes, size=(3, height, width), mode="linear")
        return self.activated(x) if kind == "sigmoid" else x


def random_network(seed: int) -> Net:
    """The network of a seed, in canonical form, on (1, 3, H, W). Seeds whose layers do not fit are skipped."""
    for turn in range(20):
        try:
            return RandomNetwork(seed * 20 + turn).build()
        except ModelError:
            continue
    raise AssertionError(f"seed {seed}: no valid network in 20 tries")
