"""Home Assistant in a Debian 13 of its own, made by debootstrap: its Python is 3.13, whatever this machine has.

Needs root, debootstrap and the network; takes some minutes and 1 GB. $EDGE_APP_TEST_HOME_ASSISTANT is a folder that
keeps it from run to run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

VERSION = "2025.4.4"
PACKAGES = (f"homeassistant=={VERSION}", "paho-mqtt==2.1.0")
SCRIPT = Path(__file__).with_name("home_assistant_core.py")
_DEBIAN = "python3,python3-venv,python3-dev,g++,ca-certificates"  # some of its packages have no wheels
_MIRROR = "http://deb.debian.org/debian"
_INSTALL_S = 3600  # four packages are compiled: 9 minutes on two shared cores, more beside other load


@dataclass(frozen=True)
class HomeAssistant:
    """A Python with Home Assistant. root: of the Debian that it is in; None: this system."""

    python: str
    root: Path | None = None

    def command(self, folder: Path, port: int) -> list[str]:
        """How to start it. folder: its registries in `core`, its log in `core.log`. port: of the broker."""
        if self.root is None:
            return [self.python, str(SCRIPT), str(folder / "core"), str(port), str(folder / "core.log")]
        # The mounts are in a namespace of this process, which becomes Home Assistant itself: it can be killed as such.
        inside = f"{self.python} /srv/{SCRIPT.name} /mnt/core {port} /mnt/core.log"
        mounts = f"mount --bind {folder} {self.root}/mnt && mount --bind {SCRIPT.parent} {self.root}/srv"
        return ["unshare", "--mount", "sh", "-c", f"{mounts} && exec chroot {self.root} {inside}"]


def lacking() -> str | None:
    """Why no Debian can be made here, or None."""
    if os.geteuid():
        return "needs root"
    return None if shutil.which("debootstrap") else "needs the Debian package debootstrap"


def made(folder: Path) -> HomeAssistant:
    """A Debian 13 with Home Assistant. folder: where to make it, if it is not kept. Raises AssertionError."""
    root = Path(os.environ.get("EDGE_APP_TEST_HOME_ASSISTANT", folder / "debian"))
    found = HomeAssistant("/ha/bin/python", root)
    if not (root / "ha/complete").exists():
        _run("debootstrap", "--variant=minbase", f"--include={_DEBIAN}", "trixie", str(root), _MIRROR)
        for path in ("etc/resolv.conf", "etc/ssl/certs/ca-certificates.crt"):  # it trusts whom this machine trusts
            shutil.copy(Path("/") / path, root / path)
        _run("chroot", str(root), "python3", "-m", "venv", "/ha")
        _run("chroot", str(root), "/ha/bin/pip", "install", "-q", *PACKAGES)
        (root / "ha/complete").touch()
    return found


def version(found: HomeAssistant) -> str:
    """`Home Assistant 2025.4.4 on Python 3.13.5`."""
    program = "import platform, homeassistant.const as c; print(c.__version__, 'on Python', platform.python_version())"
    inside = [found.python, "-c", program]
    command = inside if found.root is None else ["chroot", str(found.root), *inside]
    return f"Home Assistant {subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()}"


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_S, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout[-1000:]}{done.stderr[-1000:]}"
