from __future__ import annotations

import pytest

from edge_app.errors import ConfigError
from edge_app.model import cycles
from edge_app.model.cycles import Layer

# Rows of the converter's layer table: layer, then DDR and NPU cycles on rv1106, then on rk3588. DDR is None where the
# row is an output of the graph, which rk3588 stores with more padding.
CONVERTER = (
    (Layer("stem", "Conv", "conv", (3, 320, 320), (16, 160, 160), (3, 3), image=True), 116487, 230400, 30412, 230400),
    (Layer("dense", "Conv", "conv", (72, 40, 40), (72, 40, 40), (3, 3)), 49241, 216000, 12828, 129600),
    (Layer("narrow", "Conv", "conv", (16, 160, 160), (32, 80, 80), (3, 3)), 100538, 115200, 26181, 57600),
    (Layer("down", "Conv", "conv", (72, 40, 40), (144, 20, 20), (3, 3)), 45469, 97200, 11846, 54000),
    (Layer("pointwise", "Conv", "conv", (144, 20, 20), (144, 20, 20)), 22257, 18000, 5801, 10000),
    (Layer("added", "Conv", "conv", (72, 40, 40), (72, 40, 40), addend=True), 63289, 32000, 16486, 19200),
    (Layer("dw3", "Conv", "depthwise", (72, 40, 40), (72, 40, 40), (3, 3), 72), 41761, 43200, 10894, 28800),
    (Layer("dw5", "Conv", "depthwise", (144, 20, 20), (144, 20, 20), (5, 5), 144), 19444, 50000, 5088, 30000),
    (Layer("odd cells", "Conv", "conv", (24, 26, 14), (17, 26, 14), (3, 3)), 4420, 6624, None, 3312),
    (Layer("odd channels", "Conv", "conv", (65, 13, 7), (130, 13, 7), (3, 3)), 15844, 23328, 4193, 12960),
    (Layer("7x7", "Conv", "conv", (24, 26, 14), (40, 26, 14), (7, 7)), 12427, 54096, None, 36064),
    (Layer("1x3", "Conv", "conv", (32, 32, 32), (48, 32, 32), (1, 3)), 14111, 12288, None, 8192),
    (Layer("up", "ConvTranspose", "conv", (32, 32, 32), (40, 64, 64), (3, 3)), 39172, 110592, None, 73728),
    (Layer("fc", "Gemm", "conv", (2048, 1, 1), (50, 1, 1)), 17051, 4096, 4441, 2048),
)


@pytest.mark.parametrize("row", CONVERTER, ids=lambda row: row[0].name)
def test_equals_the_converters_estimate(row):
    layer, *expected = row
    for target, (memory, compute) in (("rv1106", expected[:2]), ("rk3588", expected[2:])):
        (cost,) = cycles.costs([layer], target)
        assert cost.compute == compute
        assert memory is None or cost.memory == pytest.approx(memory, rel=0.02)
        assert cost.cycles == max(cost.compute, cost.memory)


# Convolutions that the converter splits, to 24 channels at 25x19: input channels, kernel, cycles of all parts.
SPLIT = {
    "rv1106": (
        (97, 7, 188160),
        (122, 7, 235200),
        (230, 5, 192000),
        (250, 5, 216000),
        (340, 3, 95040),
        (700, 3, 190080),
    ),
    "rk3588": ((97, 7, 117600), (122, 7, 117600), (100, 5, 48000), (113, 5, 60000), (330, 3, 47520), (340, 3, 51840)),
}


@pytest.mark.parametrize("target", sorted(SPLIT))
def test_each_part_of_a_split_convolution_fills_whole_blocks(target):
    for channels, kernel, expected in SPLIT[target]:
        layer = Layer("a", "Conv", "conv", (channels, 25, 19), (24, 25, 19), (kernel, kernel))
        assert cycles.costs([layer], target)[0].compute == expected


def test_a_global_average_is_split_as_the_converter_splits_it():
    found = list(cycles.global_average("pool", "GlobalAveragePool", (64, 64, 40)))
    assert [(each.kernel, each.outputs[1:]) for each in found] == [
        ((7, 7), (10, 6)),
        ((7, 6), (2, 1)),
        ((2, 1), (1, 1)),
    ]
    assert [cost.compute for cost in cycles.costs(found, "rv1106")] == [6272, 1344, 64]
    assert [cost.compute for cost in cycles.costs(found, "rk3588")] == [3136, 672, 32]
    assert not list(cycles.global_average("pool", "GlobalAveragePool", (64, 1, 1)))


def test_a_layer_without_an_estimate_is_free():
    layer = Layer("sum", "Add", "free", (8, 4, 4), (8, 4, 4))
    assert cycles.total([layer], "rv1106") == layer.macs == layer.parameters == 0


def test_counts_macs_and_parameters():
    dense = Layer("a", "Conv", "conv", (8, 4, 4), (16, 4, 4), (3, 3))
    assert dense.parameters == 16 * 8 * 9 + 16
    assert dense.macs == 16 * 8 * 9 * 16
    depthwise = Layer("b", "Conv", "depthwise", (8, 4, 4), (8, 4, 4), (3, 3), 8)
    assert depthwise.macs == 8 * 9 * 16


def test_rejects_a_target_without_a_formula():
    with pytest.raises(ConfigError, match=r"--target: found 'rk1'; expected rv1106 or rk3588"):
        cycles.total([], "rk1")
