"""Pruning tiny networks. Needs torch and torch-pruning: pip install 'edge-app[slim]'."""

from __future__ import annotations

import numpy as np
import pytest

from edge_app.errors import ConfigError
from edge_app.model import cycles
from edge_app.slim import recipe as recipes
from edge_app.slim.recipe import HeadRecipe, InputSize, Recipe

torch = pytest.importorskip("torch", reason="the extra `slim` is not installed")
pytest.importorskip("torch_pruning", reason="the extra `slim` is not installed")
from edge_app.slim import export, layers  # noqa: E402
from edge_app.slim import pruning as prune  # noqa: E402
from edge_app.slim.network import Network  # noqa: E402

pytestmark = pytest.mark.system
IMAGE = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
HEADS = {"boxes": HeadRecipe("detect", channels=64), "kind": HeadRecipe("classify", channels=64)}
LABELS = {"boxes": ("a", "b"), "kind": ("c", "d")}


def made(backbone: str = "edge", width: float = 1.0) -> tuple[Network, Recipe]:
    torch.manual_seed(0)
    recipe = Recipe(HEADS, backbone=backbone, width=width, input=InputSize(64, 64))
    return Network(recipe, LABELS).eval(), recipe


def outputs(network: Network) -> np.ndarray:
    with torch.no_grad():
        return np.concatenate([t.numpy().ravel() for each in network(IMAGE).values() for t in each])


@pytest.mark.parametrize("backbone", [name for name in recipes.backbones() if name != "shufflenet_v2"])
def test_reaches_the_share_with_widths_in_whole_blocks(tmp_path, backbone):
    network, recipe = made(backbone)
    before = cycles.total(prune.measured(network, IMAGE).values(), "rv1106")
    first = prune.widths(network)
    after = prune.prune(network, IMAGE, "rv1106", 0.8)
    assert cycles.total(prune.measured(network, IMAGE).values(), "rv1106") <= 0.8 * before
    changed = {name: n for name, n in after.items() if n != first[name]}
    assert changed
    assert all(n % 16 == 0 for n in changed.values())
    export.write(network, recipe, tmp_path / "model", "a")  # compares with torch
    assert layers.read(tmp_path / "model" / "backbone.onnx").layers


def test_the_cycles_are_those_of_the_exported_graph(tmp_path):
    network, recipe = made()
    prune.prune(network, IMAGE, "rk3588", 0.7)
    export.write(network, recipe, tmp_path / "model", "a")
    found = layers.read(tmp_path / "model" / "backbone.onnx").layers
    inside = [layer for name, layer in prune.measured(network, IMAGE).items() if name.startswith("backbone.")]
    assert cycles.total(inside, "rk3588") == cycles.total(found, "rk3588")


@pytest.mark.parametrize("rank", ["l1", "gain"])
def test_channels_that_do_nothing_are_dropped_first(rank):
    """Half of the channels between two layers are always 0: without them, every output stays the same."""
    network, _ = made()
    last = network.backbone.to_c32[0]
    dead = torch.arange(0, 128, 2)
    with torch.no_grad():
        last[0].weight[dead] = 0
        last[1].weight[dead] = 0
        last[1].bias[dead] = 0
        for block in network.backbone.to_c32[1:]:
            for convolution, norm, _ in block.body:
                convolution.weight[dead] = 0
                norm.weight[dead] = 0
                norm.bias[dead] = 0
        for reader in (network.head("boxes").fused.c32, network.head("kind").mix[0]):
            reader.weight[:, dead] = 0
    expected = outputs(network)
    graph, groups = prune._groups(network, IMAGE, rank)
    group = next(g for g in groups if "backbone.to_c32.0.0" in g.outputs)
    assert set(group.order[:64]) == set(dead.tolist())
    prune._drop(graph, group.root, group.order[:64])
    assert np.abs(outputs(network) - expected).max() <= 1e-5


def test_a_backbone_with_shuffled_channels_is_rejected():
    network, _ = made("shufflenet_v2", 0.25)
    with pytest.raises(ConfigError, match="this backbone interleaves its channels"):
        prune.prune(network, IMAGE, "rv1106", 0.8)


def test_a_share_that_cannot_be_reached_names_the_nearest():
    network, _ = made()
    with pytest.raises(ConfigError, match=r"prune: found the share 0.01; .*; expected 0\.\d+ or more"):
        prune.prune(network, IMAGE, "rv1106", 0.01)


def test_weights_of_a_pruned_network_load_into_one_of_its_widths():
    network, _ = made()
    found = prune.prune(network, IMAGE, "rv1106", 0.6)
    again, _ = made()
    prune.shrink(again, IMAGE, found)
    again.load_state_dict(network.state_dict())
    assert np.array_equal(outputs(again), outputs(network))
    other, _ = made()
    with pytest.raises(ConfigError, match="no pruning of this recipe's network gives"):
        prune.shrink(other, IMAGE, {**found, "backbone.to_c8.0.0": 999})
