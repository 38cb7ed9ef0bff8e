"""What heads need of OpenCV. Below 4.8, its main package lacks bar codes and markers."""

from __future__ import annotations

from edge_app.errors import ConfigError

_LEAST = (4, 8)


def require_opencv(where: str, version: str, module: str, otherwise: str = "") -> None:
    """Raise ConfigError unless OpenCV is 4.8 or later, and was built with a module: `barcode`, `aruco`.

    version: of the installed OpenCV. otherwise: what else helps.
    """
    import cv2

    expected = "expected OpenCV 4.8 or later: pip install 'opencv-python-headless>=4.8'"
    expected += f", {otherwise}" if otherwise else ""
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers < _LEAST:
        raise ConfigError(f"{where}: found OpenCV {version}; {expected}")
    if not hasattr(cv2, module):
        raise ConfigError(f"{where}: found OpenCV {version} without {module}; {expected}")
