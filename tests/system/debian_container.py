"""A fresh minimal Debian 12 that boots its own systemd.

Needs root, debootstrap, systemd-nspawn, ssh and the network.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = {"debootstrap": "debootstrap", "systemd-nspawn": "systemd-container", "ssh-keygen": "openssh-client"}
PACKAGES = (
    "systemd,systemd-sysv,dbus,udev,openssh-server,dropbear-bin,openssl,"
    "python3,python3-numpy,python3-yaml,python3-serial,python3-paho-mqtt"
)
MIRROR = "http://deb.debian.org/debian"


def lacking() -> str | None:
    """Why no container can run here, or None."""
    if os.geteuid():
        return "needs root"
    missing = [package for program, package in PROGRAMS.items() if shutil.which(program) is None]
    return f"needs the Debian packages {' '.join(missing)}" if missing else None


@dataclass
class Machine:
    """A running container on the host's network. key: a private key that root accepts."""

    root: Path
    key: Path
    port: int

    @property
    def options(self) -> list[str]:
        known = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
        return ["-i", str(self.key), *known]

    def run(self, command: str, *, check: bool = True) -> str:
        """Run a command over ssh. Returns its output."""
        ssh = ["ssh", "-p", str(self.port), *self.options, "root@127.0.0.1", command]
        done = subprocess.run(ssh, capture_output=True, text=True, timeout=120, check=False)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def make(folder: Path) -> Path:
    """Install Debian into `folder`/debian. $EDGE_APP_TEST_DEBIAN: a folder that caches it for the next run."""
    root = folder / "debian"
    kept = Path(os.environ.get("EDGE_APP_TEST_DEBIAN", folder / "none"))
    if kept.is_dir():
        subprocess.run(["cp", "-a", kept, root], check=True)
        return root
    command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(root), MIRROR]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    if "EDGE_APP_TEST_DEBIAN" in os.environ:
        subprocess.run(["cp", "-a", root, kept], check=True)
    return root


@contextmanager
def booted(root: Path, folder: Path, port: int) -> Iterator[Machine]:
    """Boot it with OpenSSH on 127.0.0.1:`port` and Dropbear on the next port."""
    machine = Machine(root, folder / "id", port)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", machine.key], check=True)
    (root / "root/.ssh").mkdir(mode=0o700, exist_ok=True)
    shutil.copy(machine.key.with_suffix(".pub"), root / "root/.ssh/authorized_keys")
    text = f"Port {port}\nListenAddress 127.0.0.1\nUsePAM no\nSubsystem none /bin/false\n"
    (root / "etc/ssh/sshd_config").write_text(text)
    dropbear = f"[Service]\nExecStart=/usr/sbin/dropbear -R -F -E -p 127.0.0.1:{port + 1}\n"
    (root / "etc/systemd/system/dropbear.service").write_text(dropbear + "[Install]\nWantedBy=multi-user.target\n")
    (root / "etc/dropbear").mkdir(exist_ok=True)
    wants = root / "etc/systemd/system/multi-user.target.wants/dropbear.service"
    wants.unlink(missing_ok=True)
    wants.symlink_to("../dropbear.service")
    nspawn = ["systemd-nspawn", "--boot", "--register=no", "--keep-unit", "--quiet", "--console=pipe", "-D", str(root)]
    with (folder / "console").open("w") as console:
        process = subprocess.Popen(
            [*nspawn, f"--machine=edge-{port}"], stdout=console, stderr=console, stdin=subprocess.DEVNULL
        )
        try:
            _wait_for(machine, process)
            yield machine
        finally:
            machine.run("systemctl poweroff", check=False)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_for(machine: Machine, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 90
    while time.monotonic() < end:
        assert process.poll() is None, (machine.key.parent / "console").read_text()
        if machine.run("systemctl is-active multi-user.target", check=False).strip() == "active":
            return
        time.sleep(0.5)
    raise AssertionError((machine.key.parent / "console").read_text())
