"""Train the digits model from scratch: `python models/training/train.py --digits PATH`.

Most steps use small dense scenes (192 px, a third of the cost), the last ones whole letterboxed 320 px inputs. Worker
processes compose the scenes during training (scenes.py). export.py writes the graphs.
"""

from __future__ import annotations

import argparse
import copy
import ctypes
import math
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset, get_worker_info
from tqdm import tqdm

import camera
import canvas
import export
import glyphs
import scenes
from network import CLASSES, STRIDE, Network

NO_DIGIT, ANY_DIGIT = 255, 254  # in a map of labels: background; ignored
CORE, RING = 0.14, 0.42  # center share of a box that is positive; that is ignored for its label
IGNORE_BELOW = 0.25  # visible share below which a digit is background
POSITIVE_WEIGHT = 1.2  # weight of cells with a digit: misses matter more than false positives
REUSE_AFTER = 12  # batches
CONTENTS = (
    (320, 240),
    (320, 180),
    (320, 320),
    (320, 213),
    (240, 320),
    (300, 240),
)  # sizes of letterboxed images, (w, h)


@dataclass(frozen=True, slots=True)
class Schedule:
    """A phase of training: `steps` batches of `batch` inputs, `side` pixels wide and high."""

    side: int
    batch: int
    steps: int


@dataclass(frozen=True, slots=True)
class Cycle:
    """Phases with one cosine learning rate, which reaches zero after `horizon` steps (the cycle can end before).

    A cycle starts from the averaged weights of the previous one. styles: used equally often. focus: exponent of the
    score that weights negatives. A high value favors the few positives; a low one makes scores closer to probabilities.
    """

    styles: tuple[scenes.Style, ...]
    rate: float
    focus: float
    phases: tuple[Schedule, ...]
    horizon: int


def cycles(epochs: int) -> tuple[Cycle, ...]:
    """Plain scenes first, then scenes with many look-alikes of digits, then scenes closer to real installations.

    The last steps use whole inputs.
    """
    whole = Schedule(320, 16, 15 * epochs)
    return (
        Cycle((scenes.PLAIN,), 2e-3, 1.5, (Schedule(192, 16, 400 * epochs),), 1200 * epochs),
        Cycle((scenes.BUSY,), 1.5e-3, 0.75, (Schedule(192, 16, 1000 * epochs),), 1000 * epochs),
        Cycle(
            (scenes.BUSY, scenes.CLEAR, scenes.CLEAR),
            1.5e-3,
            0.75,
            (Schedule(192, 16, 1400 * epochs), whole),
            1415 * epochs,
        ),
    )


def targets(scene: scenes.Scene) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float32], NDArray[np.uint8]]:
    """The training targets of a scene, per cell of 8 pixels.

    Returns core (h, w): a label, NO_DIGIT or ANY_DIGIT; ring (h, w): a label whose score is ignored there;
    boxes (4, h, w): l, t, r, b in strides, for cells with a label; panel (h, w): scenes.PANEL_*.
    """
    side = scene.panel.shape[0] // STRIDE
    core = np.full((side, side), NO_DIGIT, np.uint8)
    ring = np.full((side, side), NO_DIGIT, np.uint8)
    distances = np.zeros((4, side, side), np.float32)
    centers = (np.arange(side, dtype=np.float32) + 0.5) * STRIDE
    area = (scene.boxes[:, 2] - scene.boxes[:, 0]) * (scene.boxes[:, 3] - scene.boxes[:, 1])
    for i in np.argsort(-area):  # small digits last: they have few cells
        left, top, right, bottom = scene.boxes[i]
        if scene.visible[i] < IGNORE_BELOW:
            continue
        x, y = (left + right) / 2, (top + bottom) / 2
        off_x, off_y = np.abs(centers - x), np.abs(centers - y)
        reach_x, reach_y = max(RING * (right - left), STRIDE), max(RING * (bottom - top), STRIDE)
        near = (off_y < reach_y)[:, None] & (off_x < reach_x)[None, :]
        if scene.visible[i] < canvas.MIN_VISIBLE:
            near = ((centers > top - STRIDE) & (centers < bottom + STRIDE))[:, None] & (
                (centers > left - STRIDE) & (centers < right + STRIDE)
            )[None, :]
            core[near & (core == NO_DIGIT)] = ANY_DIGIT
            continue
        ring[near] = scene.labels[i]
        inner = (off_y <= CORE * (bottom - top))[:, None] & (off_x <= CORE * (right - left))[None, :]
        inner[min(int(y / STRIDE), side - 1), min(int(x / STRIDE), side - 1)] = True
        core[inner] = scene.labels[i]
        rows, columns = np.nonzero(inner)
        distances[:, rows, columns] = (
            np.stack([centers[columns] - left, centers[rows] - top, right - centers[columns], bottom - centers[rows]])
            / STRIDE
        )
    cells = scene.panel.reshape(side, STRIDE, side, STRIDE)
    panel = ((cells == scenes.PANEL_IN).mean((1, 3)) > 0.5).astype(np.uint8)
    panel[(cells == scenes.PANEL_UNSURE).mean((1, 3)) > 0.25] = scenes.PANEL_UNSURE
    return core, ring, distances, panel


class SceneStream(IterableDataset[tuple[Tensor, ...]]):
    """Endless batches of composed scenes with their targets, different in each worker."""

    def __init__(self, digits: glyphs.Glyphs, styles: tuple[scenes.Style, ...], schedule: Schedule, seed: int) -> None:
        self.digits, self.styles, self.schedule, self.seed = digits, styles, schedule, seed

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        cv2.setNumThreads(1)
        worker = get_worker_info()
        rng = np.random.default_rng([self.seed, self.schedule.side, worker.id if worker else 0])
        composers = [scenes.Composer(self.digits, rng, style) for style in self.styles]
        used: deque[tuple[Tensor, ...]] = deque()
        while True:
            batch = [self._scene(composers[i % len(composers)], rng) for i in range(self.schedule.batch)]
            answers = zip(*(targets(scene) for scene in batch), strict=True)
            tensors = (
                torch.from_numpy(np.stack([scene.image for scene in batch])),
                *(torch.from_numpy(np.stack(answer)) for answer in answers),
                torch.tensor([scene.kind for scene in batch]),
            )
            yield tensors
            used.append(tensors)
            if len(used) > REUSE_AFTER:  # composing costs as much as a training step: use each batch twice
                image, *same = used.popleft()
                yield image[..., rng.permutation(3).tolist()].contiguous(), *same

    def _scene(self, composer: scenes.Composer, rng: np.random.Generator) -> scenes.Scene:
        side = self.schedule.side
        if side == 320:
            width, height = CONTENTS[int(rng.integers(len(CONTENTS)))]
            corner = ((side - width) // 2, (side - height) // 2)
        else:  # a crop of a letterboxed input, with a padding bar at one side or none
            width = height = side
            if rng.random() < 0.5:
                bar = int(rng.integers(1, side // 3))
                width, height = (side - bar, side) if rng.random() < 0.3 else (side, side - bar)
            corner = ((side - width) * int(rng.integers(2)), (side - height) * int(rng.integers(2)))
        return scenes.letterboxed(composer.compose(height, width), side, corner)


def losses(
    out: dict[str, Tensor], core: Tensor, ring: Tensor, boxes: Tensor, panel: Tensor, kind: Tensor, *, focus: float
) -> dict[str, Tensor]:
    """The five weighted terms of the loss. The tensors are the stacked results of `targets`."""
    core, ring = core.long(), ring.long()
    positive = core < CLASSES
    count = positive.sum().clamp(min=1)
    wanted = F.one_hot(core.clamp(max=CLASSES), CLASSES + 1)[..., :CLASSES].permute(0, 3, 1, 2).float()
    free = F.one_hot(ring.clamp(max=CLASSES), CLASSES + 1)[..., :CLASSES].permute(0, 3, 1, 2).bool() & (wanted == 0)
    judged = (core != ANY_DIGIT)[:, None] & ~free
    scores = out["scores"]
    # Varifocal loss (Zhang et al. 2021) with hard targets: only easy negatives are weighted down. With positives
    # weighted down too, scores of clear digits stayed near 0.6.
    weight = torch.where(wanted > 0, torch.ones_like(scores), scores.detach().sigmoid() ** focus)
    weight = weight * (1 + (POSITIVE_WEIGHT - 1) * wanted)
    score = (F.binary_cross_entropy_with_logits(scores, wanted, reduction="none") * weight * judged).sum() / count
    # Which digit it is, for cells with a digit: background dominates the term above.
    label = F.cross_entropy(scores.permute(0, 2, 3, 1)[positive], core[positive], reduction="sum") / count
    predicted, true = out["boxes"].permute(0, 2, 3, 1)[positive], boxes.permute(0, 2, 3, 1)[positive]
    distance = F.smooth_l1_loss(predicted, true, beta=0.2, reduction="sum") / (4 * count)
    box = (1 - giou(predicted, true)).sum() / count + 0.3 * distance
    sure = panel != scenes.PANEL_UNSURE
    mask = F.binary_cross_entropy_with_logits(out["mask"][:, 0][sure], panel[sure].float())
    scene = F.cross_entropy(out["scene"], kind, ignore_index=camera.UNSURE)
    return {"score": score, "label": label, "box": 1.5 * box, "mask": mask, "scene": 0.4 * scene}


def giou(a: Tensor, b: Tensor) -> Tensor:
    """Generalized IoU (Rezatofighi et al. 2019) of l, t, r, b distances (N, 4) from common centers."""
    area_a = (a[:, 0] + a[:, 2]) * (a[:, 1] + a[:, 3])
    area_b = (b[:, 0] + b[:, 2]) * (b[:, 1] + b[:, 3])
    low, high = torch.minimum(a, b), torch.maximum(a, b)
    inter = (low[:, 0] + low[:, 2]).clamp(min=0) * (low[:, 1] + low[:, 3]).clamp(min=0)
    hull = (high[:, 0] + high[:, 2]) * (high[:, 1] + high[:, 3])
    union = area_a + area_b - inter
    return inter / union.clamp(min=1e-6) - (hull - union) / hull.clamp(min=1e-6)


class Average:
    """An exponential moving average of a network's weights, which is exported."""

    def __init__(self, network: Network, decay: float) -> None:
        self.network, self.decay, self.steps = copy.deepcopy(network).eval(), decay, 0

    @torch.no_grad()
    def update(self, network: Network) -> None:
        self.steps += 1
        decay = min(self.decay, self.steps / (self.steps + 10))
        for mine, new in zip(self.network.state_dict().values(), network.state_dict().values(), strict=True):
            if mine.dtype.is_floating_point:
                mine.lerp_(new, 1 - decay)
            else:
                mine.copy_(new)


def train(network: Network, cycle: Cycle, digits: glyphs.Glyphs, seed: int, args: argparse.Namespace) -> Network:
    """Train one cycle, starting from `network`. Returns the averaged network."""
    network = network.train().to(memory_format=torch.channels_last)
    average = Average(network, 0.998)
    matrices = [p for p in network.parameters() if p.ndim > 1]
    vectors = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": 0.02}, {"params": vectors, "weight_decay": 0.0}]
    optimizer, done = torch.optim.AdamW(groups), 0
    for phase in cycle.phases:
        stream = SceneStream(digits, cycle.styles, phase, seed)
        loader = DataLoader(stream, batch_size=None, num_workers=args.workers, prefetch_factor=4)
        progress = tqdm(zip(range(phase.steps), loader), total=phase.steps, desc=f"{phase.side} px", mininterval=5)
        smooth: dict[str, float] = {}
        for _, (image, *answers) in progress:
            rate = cycle.rate * min((done + 1) / 200, 0.5 + 0.5 * math.cos(math.pi * done / cycle.horizon))
            for group in optimizer.param_groups:
                group["lr"] = rate
            pixels = image.permute(0, 3, 1, 2).float().div_(255)  # NHWC in memory, which is channels_last
            with torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
                out = network(pixels)
            terms = losses({name: value.float() for name, value in out.items()}, *answers, focus=cycle.focus)
            optimizer.zero_grad()
            torch.stack(list(terms.values())).sum().backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 10.0)
            optimizer.step()
            average.update(network)
            done += 1
            for name, value in terms.items():
                smooth[name] = 0.98 * smooth.get(name, value.item()) + 0.02 * value.item()
            progress.set_postfix({name: f"{value:.3f}" for name, value in smooth.items()}, refresh=False)
            if done % 500 == 0:
                torch.save(average.network.state_dict(), args.checkpoint)
    torch.save(average.network.state_dict(), args.checkpoint)
    return average.network


def keep_memory() -> None:
    """Let glibc keep freed memory: returning megabyte arrays to the kernel at every step took half the time."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD
        libc.mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD


def main() -> None:
    """Train and export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--digits", type=Path, help="OpenCV's digits.png; default: scikit-learn's digits")
    parser.add_argument("--out", type=Path, default=Path("build/digits"))
    parser.add_argument("--epochs", type=int, default=9, help="each 2800 steps at 192 px and 15 at 320 px")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--bf16", action="store_true", help="bfloat16: 1.7x faster on processors that support it")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--checkpoint", type=Path, default=Path("digits.pt"), help="torch weights, for export.py")
    parser.add_argument("--resume", type=Path, help="weights of earlier cycles to start from")
    parser.add_argument("--first", type=int, default=0, help="the first cycle to run: 0, 1 or 2")
    args = parser.parse_args()
    keep_memory()
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    trained_on, _ = glyphs.load(args.digits)
    network = Network()
    if args.resume:
        network.load_state_dict(torch.load(args.resume, weights_only=True))
    for number, cycle in list(enumerate(cycles(args.epochs)))[args.first :]:
        network = train(network, cycle, trained_on, args.seed + number, args)
    export.write(network, args.out)


if __name__ == "__main__":
    main()
