"""Segments on engines whose graphs have one fixed shape each, such as NPUs.

The segment is compiled for several sizes. A box with its halo is computed in the smallest size that holds it, or as a
whole if none does. The crop starts at a multiple of the strides, so that its cells are those of the whole image. A crop
that would exceed the image is moved flush with the border, so that the graph's padding is that of the image. At its
other edges the halo is discarded, as with any box.
Not here: engines that take any size (segments.py), compiling the sizes (compiler/npu.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edge_app.backends import Session, Tensor
from edge_app.errors import ModelError
from edge_app.reuse.costs import Cost
from edge_app.reuse.dirty_rects import Box, union
from edge_app.reuse.segments import Reach, Segment

Size = tuple[int, int]  # width and height, pixels of the model's input


class FixedShapeSegment(Segment):
    """One graph in several sizes. sessions: by size, including that of the image. Other arguments as for Segment.

    Raises ModelError if a size cannot be placed in the image, or a graph has inputs of another size.
    """

    def __init__(
        self,
        name: str,
        sessions: Mapping[Size, Session],
        size: Size,
        strides: Mapping[str, int],
        reach: Mapping[str, Reach],
        *,
        head: str = "",
    ) -> None:
        super().__init__(name, _SessionBySize(sessions, size), size, strides, reach, head=head)
        self.croppable = bool(reach)
        self._places: list[tuple[int, int, int, int]] = []  # width, height, largest x and y of its origin
        for width, height in sorted(sessions, key=lambda size: size[0] * size[1]):
            self._check_size(sessions[width, height], (width, height), size)
            across, down = self.whole[2] - width, self.whole[3] - height
            across, down = across if width < size[0] else 0, down if height < size[1] else 0
            self._places.append((self.whole[2] - across, self.whole[3] - down, across, down))

    def needed(self, box: Box) -> Box:
        """The box of inputs to compute the outputs in `box` from: the smallest of the sizes, or the whole."""
        x1, y1, x2, y2 = super().needed(box)
        for width, height, last_x, last_y in self._places:
            x, y = min(x1, last_x), min(y1, last_y)
            if x + width >= x2 and y + height >= y2:
                return x, y, x + width, y + height
        return self.whole

    def joined(self, boxes: Sequence[Box], cost: Cost) -> list[Box]:
        """Join boxes while one size for both costs no more than one for each."""
        joined, prices = list(boxes), [cost(self.part(self.needed(box))) for box in boxes]
        i = 0
        while i < len(joined):
            for j in range(i + 1, len(joined)):
                both = union(joined[i], joined[j])
                price = cost(self.part(self.needed(both)))
                if price <= prices[i] + prices[j]:
                    joined[i], prices[i] = both, price
                    del joined[j], prices[j]
                    i = -1  # start over: the larger box may absorb an earlier one
                    break
            i += 1
        return joined

    def _check_size(self, session: Session, size: Size, whole: Size) -> None:
        where = f"{self.name}: its graph for {size[0]}x{size[1]}"
        if not all(fits_image(side, limit, self.align) for side, limit in zip(size, whole)):
            sides = f"sides that are multiples of {self.align}, or those of the image, {whole[0]}x{whole[1]}"
            raise ModelError(f"{where}: does not fit into the image; expected {sides}")
        for spec in session.inputs:
            stride = self.strides.get(spec.name)
            cells = None if stride is None else (-(-size[1] // stride), -(-size[0] // stride))
            input_cells = spec.shape[1:3] if self._layouts[spec.name] else spec.shape[2:4]
            if cells not in (None, input_cells):
                raise ModelError(
                    f"{where}: found input '{spec.name}' of {input_cells} cells, rows and columns; expected {cells}"
                )


class _SessionBySize:
    """Several sessions of a graph as one, which selects a session by the shape of the first input."""

    def __init__(self, sessions: Mapping[Size, Session], whole: Size) -> None:
        self.inputs, self.outputs = sessions[whole].inputs, sessions[whole].outputs
        self._first = self.inputs[0].name
        self._sessions = {session.inputs[0].shape: session for session in sessions.values()}

    def run(self, feeds: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        value = feeds[self._first]
        shape = value.spec.shape if hasattr(value, "spec") else value.shape
        return self._sessions[shape].run(feeds)

    def close(self) -> None:
        for session in self._sessions.values():
            session.close()


def fits_image(side: int, whole: int, align: int) -> bool:
    """Whether a crop with this side can start at multiples of `align` and end flush with the image. Pixels."""
    return side == whole or (side < whole and side % align == 0 and whole % align == 0)
