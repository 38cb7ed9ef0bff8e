"""RKNNLite with the behavior of rknn-toolkit-lite2 2.5: codes and None instead of exceptions, leaked reference cycles.

Reads the same fake model files as fake_rknnmrt.c and computes the same formula in numpy.
"""

import struct
from pathlib import Path
from typing import ClassVar

import numpy as np


class RKNNLite:
    NPU_CORE_AUTO, NPU_CORE_0, NPU_CORE_1, NPU_CORE_2, NPU_CORE_0_1, NPU_CORE_0_1_2 = 0, 1, 2, 4, 3, 7
    log: ClassVar = []  # all requested core masks, for the tests
    reject_masks = False  # a single-core SoC

    def __init__(self, verbose=False, verbose_file=None):
        self._lines = None
        self._ready = False
        self.released = False

    def load_rknn(self, path):
        try:
            data = Path(path).read_bytes()
        except OSError:
            return -1
        (body,) = struct.unpack_from("<Q", data, 16)
        self._lines = [line.split() for line in data[64 : 64 + body].decode().splitlines()]
        return 0

    def init_runtime(self, target=None, core_mask=None):
        self.log.append(core_mask)
        if core_mask is not None and self.reject_masks:
            return -13
        for line in self._lines:
            if line[:2] == ["fail", "init"]:
                return int(line[2])
        self._ready = True
        return 0

    def get_sdk_version(self):
        return "\n==============\n   API: 2.3.2\n   DRV: rknn_server: N/A\n   DRV: rknnrt: 2.3.2\n==============\n"

    def inference(self, inputs, data_format=None, inputs_pass_through=None):
        if not self._ready or self.released or any(line[:2] == ["fail", "run"] for line in self._lines):
            return None
        reals = []
        for line, array in zip([each for each in self._lines if each[0] in ("image", "feature")], inputs):
            if line[0] == "image":
                if data_format != "nhwc" or array.dtype != np.uint8:
                    return None
                reals.append((array[0].transpose(2, 0, 1).astype(np.float32) - float(line[5])) / float(line[6]))
            else:
                reals.append(array[0])
        outputs = []
        for line in [each for each in self._lines if each[0] == "output"]:
            channels, height, width, zero, scale, gain = *map(int, line[2:6]), float(line[6]), float(line[8])
            total = np.zeros((channels, height, width), np.float32)
            for real in reals:
                repeated = real[np.arange(channels) % real.shape[0]]
                rows = np.arange(height) * real.shape[1] // height
                total += repeated[:, rows][:, :, np.arange(width) * real.shape[2] // width]
            quantized = np.clip(np.rint(gain * total / scale) + zero, -128, 127)
            outputs.append(((quantized - zero) * scale).astype(np.float32)[None])
        cycle = [outputs, np.zeros(10_000, np.uint8)]
        cycle.append(cycle)  # the library leaks this cycle
        return outputs

    def release(self):
        self.released = True
