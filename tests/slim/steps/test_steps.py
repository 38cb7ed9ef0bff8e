"""What each step does to a tiny network. Needs torch: pip install 'edge-app[slim]'."""

from __future__ import annotations

import numpy as np
import pytest

from edge_app.errors import ConfigError
from edge_app.model import cycles

torch = pytest.importorskip("torch", reason="the extra `slim` is not installed")
pytest.importorskip("torch_pruning", reason="the extra `slim` is not installed")
from edge_app.evaluation import cosine  # noqa: E402
from edge_app.slim import layers, steps  # noqa: E402
from edge_app.slim.graph import model_folder  # noqa: E402
from edge_app.slim.shrink import evidence  # noqa: E402
from edge_app.slim.steps import decompose, distil, drop, prune, qat, share, sparsify, stem, train  # noqa: E402
from tests.slim import small  # noqa: E402

pytestmark = pytest.mark.system


def cost(network) -> int:
    return cycles.total(layers.of_net(network.to_net(fold=True), "a").layers, "rv1106")


def test_every_step_is_listed():
    listed = {line.split(".py")[0] for line in (steps.__doc__ or "").splitlines() if ".py" in line}
    assert listed - {"_step"} == set(steps.names())
    assert all(issubclass(steps.named(name), steps.Step) for name in steps.names())


def test_space_to_depth_changes_no_result_and_saves_cycles():
    network = small.network()
    changed = stem.Step().change(small.network(), small.work()).eval()
    assert small.difference(network, changed) <= 1e-5
    assert cost(changed) < cost(network)


def test_patches_start_close_to_the_layers_that_they_replace():
    changed = stem.Step(kind="patchify").change(small.network(), small.work()).eval()
    assert cost(changed) < cost(small.network())
    scratch = train.Step(scratch=True).change(
        stem.Step(kind="patchify").change(small.network(), small.work()), small.work()
    )
    planes = small.work().model.planes(small.work().task.images(4))
    tensor = small.network().net.producers()  # of the layer after the second convolution
    name = next(n.outputs[0] for n in changed.net.nodes if n.op == "BatchNormalization")
    assert name in tensor
    with torch.no_grad():
        wanted, fitted, random = (each.eval()(planes, (name,))[name] for each in (small.network(), changed, scratch))
    assert float((fitted - wanted).pow(2).mean()) < 0.5 * float((random - wanted).pow(2).mean())


def test_pruning_by_taylor_reaches_the_share():
    network = small.network()
    changed = prune.Step(share=0.9, rank="taylor").change(small.network(), small.work())
    assert cost(changed) <= 0.9 * cost(network) * 1.001
    assert all(layer.weight.grad is None for layer in changed.layers.values())


def test_passes_multiply_to_the_share_and_only_the_last_is_compared():
    passes = prune.Step(share=0.5, passes=3).expanded()
    assert np.prod([each.share for each in passes]) == pytest.approx(0.5)
    assert [each.controls for each in passes] == [False, False, True]


def test_a_width_that_no_group_allows_names_those_that_are():
    network = small.network()
    name = next(
        node.outputs[0]
        for node in network.net.nodes
        if node.op == "BatchNormalization" and len(network.net.weights[node.inputs[1]]) == 64
    )
    changed = prune.Step(widths={name: 48}, rank="l1").change(small.network(), small.work())
    assert len(changed.layer(name).weight) == 48
    with pytest.raises(ConfigError, match=r"found 50 for .*; expected one of 16, 32, 48, 64 on rv1106"):
        prune.Step(widths={name: 50}, rank="l1").change(small.network(), small.work())
    with pytest.raises(ConfigError, match="found no layer 'nothing'; expected one of"):
        prune.Step(widths={"nothing": 16}).change(small.network(), small.work())


def test_a_block_that_adds_nothing_is_dropped_first():
    network = small.network()
    blocks = drop.residual_blocks(network.to_net(fold=False))
    name = list(blocks)[1]
    norm = network.net.producers()
    body = next(n for n in norm[name].inputs if n != blocks[name])
    while norm[body].op != "BatchNormalization":
        body = norm[body].inputs[0]
    with torch.no_grad():
        network.layer(body).weight.zero_()
        network.layer(body).bias.zero_()
    changed = drop.Step().change(network, small.work()).eval()
    assert small.difference(network.eval(), changed) <= 1e-5
    assert len(drop.residual_blocks(changed.net)) == len(blocks) - 1
    assert cost(changed) < cost(network)
    with pytest.raises(ConfigError, match=f"found 'nothing'; expected one of {next(iter(blocks))}"):
        drop.Step(blocks=("nothing",)).change(small.network(), small.work())
    with pytest.raises(ConfigError, match=rf"found {len(blocks)} residual blocks; expected 99"):
        drop.Step(count=99).change(small.network(), small.work())


def test_a_layer_of_low_rank_is_split_without_a_change():
    network = small.network()
    wide = max(
        (n for n in network.net.nodes if n.op == "Conv" and n.attrs.get("group", 1) == 1),
        key=lambda n: network.layer(n.outputs[0]).weight.numel(),
    )
    layer = network.layer(wide.outputs[0])
    with torch.no_grad():
        flat = layer.weight.flatten(1)
        u, s, v = torch.linalg.svd(flat, full_matrices=False)
        layer.weight.copy_((u[:, :16] * s[:16] @ v[:16]).reshape(layer.weight.shape))
    changed = decompose.Step(energy=0.99999, layers=(wide.outputs[0],)).change(network, small.work()).eval()
    assert small.difference(network.eval(), changed) <= 1e-4
    assert cost(changed) < cost(network)


def test_a_decomposition_that_saves_nothing_names_the_best():
    with pytest.raises(ConfigError, match=r"found no layer that saves 99%: the best saves \d+% .* at energy 1"):
        decompose.Step(energy=1.0, saves=0.99).change(small.network(), small.work())


def test_shared_weights_take_few_values_also_after_training():
    step = share.Step(clusters=8)
    network = step.change(small.network(), small.work())
    hooks = step.hooks(network, small.work())
    with torch.no_grad():
        for layer in network.layers.values():
            layer.weight.add_(torch.rand_like(layer.weight) * 0.01)
    hooks.after(network)
    counts = [len(torch.unique(layer.weight)) for layer in network.layers.values()]
    assert max(counts) <= 8
    assert len(model_folder.save_net(network.to_net(fold=True))) > 0


def test_the_penalty_of_sparsity_is_the_sum_of_the_gains():
    network = small.network()
    found = sparsify.Step(strength=0.5).hooks(network, small.work()).penalty(network)
    gains = [each.weight.abs().sum() for each in network.layers.values() if isinstance(each, torch.nn.BatchNorm2d)]
    assert float(found.detach()) == pytest.approx(0.5 * float(sum(gains).detach()), rel=1e-4)
    folded = share.Step().change(network, small.work())
    with pytest.raises(ConfigError, match="found no BatchNorm"):
        sparsify.Step().hooks(folded, small.work())


def test_a_student_that_equals_its_teacher_has_no_loss_of_distillation():
    network = small.network()
    step = distil.Step(margin=1.0, features=1.0)
    hooks = step.hooks(network, small.work())
    with torch.no_grad():
        same = hooks.loss(small.images(), network(small.images()))
        other = hooks.loss(small.images(), {n: v + torch.randn_like(v) for n, v in network(small.images()).items()})
    assert float(same) == pytest.approx(0, abs=1e-5)
    assert float(other) > 0.01


def test_a_teacher_with_other_heads_is_rejected(tmp_path):
    from pathlib import Path

    digits = Path(__file__).parents[3] / "models" / "digits"
    with pytest.raises(ConfigError, match="has other heads or another input; expected the same"):
        distil.Step(teacher=digits).hooks(small.network(), small.work())


def test_rounding_in_training_is_that_of_the_int8_graph():
    """The simulated network and the compiler's int8 graph in onnxruntime agree, and no convolution stays in float."""
    from edge_app.compiler import quantize
    from edge_app.compiler.session import HostSession
    from edge_app.slim.graph.model_folder import load_net

    work = small.work()
    network = qat.Step().change(small.network(), work).eval()
    graph = evidence.int8_graph(network, work)
    assert quantize.float_convolutions(load_net(graph, "int8")) == []
    images = work.task.images(4)
    with torch.no_grad():
        (simulated,) = network(work.model.planes(images)).values()
    session = HostSession(graph)
    found = np.concatenate([session.run(np.ascontiguousarray(image[None, ..., ::-1]))[0] for image in images])
    assert cosine(found, simulated.numpy()) >= 0.999


def test_every_tensor_that_the_compiler_stores_has_a_range():
    from edge_app.slim.steps.qat import stored, with_moved

    net = small.network().to_net(fold=True)
    ranges = with_moved(net, dict.fromkeys(stored(net), (0.0, 1.0)))
    assert {o for n in net.nodes for o in n.outputs if n.op in ("Conv", "Clip", "Add", "Gemm")} <= set(ranges)
