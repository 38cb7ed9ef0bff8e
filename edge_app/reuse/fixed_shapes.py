"""Steps on engines whose graphs have one shape each: a box is computed in the smallest shape that holds it.

A shape lies where its cells are those of the whole picture, at a multiple of their strides; where it would reach
beyond the picture it lies flush with the border, so that the graph's own padding is the picture's. What lies too near
to its other edges is thrown away, as with any box. Where none holds a box, the whole is computed.
Not here: engines that take any size (units.py), how the shapes are made (compiler/npu.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edge_app.backends import Session, Tensor
from edge_app.errors import ModelError
from edge_app.reuse.costs import Cost
from edge_app.reuse.dirty_rects import Box, union
from edge_app.reuse.segments import Reach, Segment

Size = tuple[int, int]  # width and height, pixels of the model's input


class FixedUnit(Segment):
    """One graph in several sizes. sessions: by size, that of the picture among them; the others as with Unit.

    Raises ModelError where a size is none that can be laid into the picture, or its graph is another's.
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
        super().__init__(name, _BySize(sessions, size), size, strides, reach, head=head)
        self.free = bool(reach)
        self._places: list[tuple[int, int, int, int]] = []  # width, height, the last x and y that it can begin at
        for width, height in sorted(sessions, key=lambda each: each[0] * each[1]):
            self._check(sessions[width, height], (width, height), size)
            across, down = self.whole[2] - width, self.whole[3] - height
            across, down = across if width < size[0] else 0, down if height < size[1] else 0
            self._places.append((self.whole[2] - across, self.whole[3] - down, across, down))

    def needed(self, box: Box) -> Box:
        """The part of the inputs that is taken to compute the outputs in `box`: of one of the shapes."""
        x1, y1, x2, y2 = super().needed(box)
        for width, height, last_x, last_y in self._places:
            x, y = min(x1, last_x), min(y1, last_y)
            if x + width >= x2 and y + height >= y2:
                return x, y, x + width, y + height
        return self.whole

    def joined(self, boxes: Sequence[Box], cost: Cost) -> list[Box]:
        """Join boxes as long as the shape for both costs no more than the shapes for each."""
        found, prices = list(boxes), [cost(self.part(self.needed(box))) for box in boxes]
        i = 0
        while i < len(found):
            for j in range(i + 1, len(found)):
                both = union(found[i], found[j])
                price = cost(self.part(self.needed(both)))
                if price <= prices[i] + prices[j]:
                    found[i], prices[i] = both, price
                    del found[j], prices[j]
                    i = -1  # the larger box may now swallow one that was passed
                    break
            i += 1
        return found

    def _check(self, session: Session, size: Size, whole: Size) -> None:
        where = f"{self.name}: its graph for {size[0]}x{size[1]}"
        if not all(can_be_laid(side, limit, self.align) for side, limit in zip(size, whole)):
            sides = f"sides that are multiples of {self.align}, or those of the picture, {whole[0]}x{whole[1]}"
            raise ModelError(f"{where}: cannot be laid into the picture; expected {sides}")
        for spec in session.inputs:
            stride = self.strides.get(spec.name)
            cells = None if stride is None else (-(-size[1] // stride), -(-size[0] // stride))
            found = spec.shape[1:3] if self._layouts[spec.name] else spec.shape[2:4]
            if cells not in (None, found):
                raise ModelError(f"{where}: takes {found} cells of '{spec.name}', rows and columns; expected {cells}")


class _BySize:
    """A graph's sessions as one, which takes inputs of each of their sizes."""

    def __init__(self, sessions: Mapping[Size, Session], whole: Size) -> None:
        self.inputs, self.outputs = sessions[whole].inputs, sessions[whole].outputs
        self._first = self.inputs[0].name
        self._sessions = {each.inputs[0].shape: each for each in sessions.values()}

    def run(self, feeds: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        value = feeds[self._first]
        shape = value.spec.shape if hasattr(value, "spec") else value.shape
        return self._sessions[shape].run(feeds)

    def close(self) -> None:
        for session in self._sessions.values():
            session.close()


def can_be_laid(side: int, whole: int, align: int) -> bool:
    """Whether a side of a shape can lie at multiples of `align`, and flush at either end of the picture's side."""
    return side == whole or (side < whole and side % align == 0 and whole % align == 0)
