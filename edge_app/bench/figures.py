"""matplotlib figures without a display, written as PNG files of a fixed size. Needs the extra `bench`.

Not here: the plots themselves (pipeline_plot.py, reuse/plot.py, tune.py).
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from edge_app.errors import ConfigError
from edge_app.options.extras import install

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DPI = 100


def available() -> bool:
    """Whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def check_available() -> None:
    """Raise ConfigError if matplotlib is not installed: call this before a long measurement."""
    if not available():
        raise ConfigError(f"plot: matplotlib is not installed; expected: {install('bench')}")


def new_figure(width_px: int, height_px: int) -> Figure:
    """An empty white figure. Raises ConfigError if matplotlib is not installed."""
    check_available()
    from matplotlib.figure import Figure

    return Figure(figsize=(width_px / _DPI, height_px / _DPI), dpi=_DPI, layout="constrained")


def style(axes: Axes, title: str, x_label: str = "", y_label: str = "") -> None:
    """Set the title and the axis labels, and draw a light grid below the data."""
    axes.set_title(title, fontsize=9)
    axes.set_xlabel(x_label, fontsize=8)
    axes.set_ylabel(y_label, fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(color="#e0e0e0")
    axes.set_axisbelow(True)


def save(figure: Figure, path: Path) -> None:
    """Write a PNG, with its folder. Raises ConfigError if the file cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="png", metadata={"Software": None})
    except OSError as exc:
        raise ConfigError(f"{path}: {exc.strerror}; expected a file that can be written") from exc
