"""Charts show points where their values are, on any OpenCV."""

import cv2
import numpy as np
import pytest

from edge_app.bench.chart import Axis, Canvas, Panel
from edge_app.errors import ConfigError

RED = (40, 40, 230)


def drawn(tmp_path, *points: tuple[float, float]) -> np.ndarray:
    canvas = Canvas(300, 200)
    panel = Panel(canvas, (0, 0, 300, 200), Axis(0, 10, (0, 5, 10), "x"), Axis(0, 1, (0, 1), "y"), "title")
    for point in points:
        panel.point(point, "disc", RED)
    path = tmp_path / "new" / "chart.png"
    canvas.save(path)
    return cv2.imread(str(path))


def middle(image: np.ndarray) -> tuple[float, float]:
    rows, columns = np.nonzero(np.abs(image.astype(int) - RED).max(axis=2) < 30)
    return columns.mean(), rows.mean()


def test_a_point_lies_where_its_values_are(tmp_path):
    left, low = middle(drawn(tmp_path, (0, 0)))
    right, high = middle(drawn(tmp_path, (10, 1)))
    x, y = middle(drawn(tmp_path, (5, 0.25)))
    assert left < right
    assert high < low
    assert x == pytest.approx((left + right) / 2, abs=1)
    assert y == pytest.approx(low + 0.25 * (high - low), abs=1)


def test_a_point_outside_lies_on_the_border(tmp_path):
    assert middle(drawn(tmp_path, (99, -3))) == pytest.approx(middle(drawn(tmp_path, (10, 0))), abs=0.5)


@pytest.mark.parametrize("mark", ["disc", "ring", "square", "triangle", "diamond", "cross"])
def test_every_mark_is_drawn(tmp_path, mark):
    canvas = Canvas(40, 40)
    canvas.mark(mark, (20, 20), RED)
    canvas.save(tmp_path / "mark.png")
    image = cv2.imread(str(tmp_path / "mark.png"))
    assert 15 < np.count_nonzero((image != 255).any(axis=2)) < 250


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="expected a file that can be written"):
        Canvas(10, 10).save(tmp_path / "file" / "x.png")
