"""A real systemd in a container: this machine's /usr, read-only, under a root of its own.

Debian packages: systemd, systemd-container, util-linux. Needs root.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.conftest import PROJECT

TARGET = "edge-test.target"
INSIDE = Path("/edge")  # the path of `shared` inside


def missing() -> str | None:
    """Why no container can run here, or None."""
    if os.geteuid() != 0:
        return "needs root"
    for program in ("systemd-nspawn", "nsenter"):
        if not shutil.which(program):
            return f"needs {program}: the Debian packages systemd-container and util-linux"
    if not Path("/usr/lib/systemd/systemd").exists() or not Path("/bin").is_symlink():
        return "needs the Debian package systemd, and a merged /usr"
    return None


class Container:
    """Boots at once; `shared` is a folder that host and container share."""

    def __init__(self, root: Path, shared: Path, units: dict[str, str]) -> None:
        self.shared = shared
        self._lay_out(root, units)
        libraries = {Path(sys.prefix), Path(sys.base_prefix), PROJECT} - {Path("/usr")}
        binds = [f"--bind-ro={folder}" for folder in sorted(libraries)]
        command = ["systemd-nspawn", "--quiet", f"--directory={root}", "--bind-ro=/usr", f"--bind={shared}:{INSIDE}"]
        command += [*binds, "--register=no", "--keep-unit", "--console=pipe", f"--machine=edge-{os.getpid()}"]
        command += ["--boot", f"systemd.unit={TARGET}"]
        self._log = (root.parent / "container.log").open("w+", encoding="utf-8")
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT)
        self._wait_for_boot()

    def close(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def run(self, *command: str, check: bool = True, timeout_s: float = 60.0) -> str:
        """Run a command inside. Returns what it printed."""
        inside = ["nsenter", "-t", str(self._leader()), "-a", *command]
        done = subprocess.run(inside, capture_output=True, text=True, timeout=timeout_s, check=False)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def shown(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.run("systemctl", "show", unit, f"--property={name}", "--value").strip()

    def _lay_out(self, root: Path, units: dict[str, str]) -> None:
        for name in ("usr", "etc/systemd/system", "var", "tmp", "run", "proc", "sys", "dev", "root", INSIDE.name):
            (root / name).mkdir(parents=True)
        for name in ("bin", "sbin", "lib", "lib64"):
            if Path("/", name).is_symlink():
                (root / name).symlink_to(f"usr/{name}")
        files = {"passwd": "root:x:0:0::/root:/bin/sh\n", "group": "root:x:0:\n", "machine-id": ""}
        files |= {"os-release": Path("/etc/os-release").read_text(encoding="utf-8")}
        if Path("/etc/ld.so.cache").exists():
            shutil.copy("/etc/ld.so.cache", root / "etc/ld.so.cache")
        for name, text in files.items():
            (root / "etc" / name).write_text(text, encoding="utf-8")
        units = {TARGET: "[Unit]\nRequires=basic.target\nAfter=basic.target\n", **units}
        for name, text in units.items():
            (root / "etc/systemd/system" / name).write_text(text, encoding="utf-8")

    def _leader(self) -> int:
        """The container's first process, as this side sees it."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text(encoding="ascii")
        return int(children.split()[0])

    def _wait_for_boot(self) -> None:
        end_s = time.monotonic() + 60
        while time.monotonic() < end_s and self._process.poll() is None:
            try:
                if self.run("systemctl", "is-active", TARGET, check=False).strip() == "active":
                    return
            except (IndexError, OSError):
                pass  # not booted yet
            time.sleep(0.2)
        self._log.seek(0)
        log = self._log.read()
        self.close()
        raise AssertionError(f"the container did not boot: {log}")
