"""Simulated cameras: each is a root directory with the real updater, setup.sh and init script, reached by a fake ssh.

The fake runs a command inside the root directory of the camera that the address names, with this machine's programs.
Not simulated: the network, and the loss of unsynced data in a power cut (test_firmware_interrupted.py).
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import build
import bundle
import slots

FIRMWARE = Path(build.__file__).parent
HEALTHY = """#!/bin/sh
n=0
while :; do
    n=$((n + 1))
    printf '{"verdict": "healthy", "reason": "", "writes": %s}' $n >"$EDGE_APP_HEALTH"
    sleep 2
done
"""
FAILS = """#!/bin/sh
printf '{"verdict": "failed", "reason": "golden vectors differ"}' >"$EDGE_APP_HEALTH"
exec sleep 100
"""
SSH = """#!/bin/sh
# ssh [options] root@CAMERA COMMAND: options have a value, but -O
while [ "$1" != "${1#-}" ]; do
    [ "$1" != -O ] || exit 0
    shift 2
done
root=@FLEET@/${1#*@}
[ -e "$root/reachable" ] || { echo "ssh: connect to host ${1#*@}: No route to host" >&2; exit 255; }
shift
exec unshare --mount sh -c 'set -e
root=$1
shift
for each in usr @BINDS@ dev proc; do mount --rbind "/$each" "$root/$each"; done
mount -t tmpfs none "$root/usr/lib/systemd" # no systemd: the init script runs the daemon
mount --bind @FLEET@/empty "$root/usr/bin/logger"
mount --bind "$root/boot_id" "$root/proc/sys/kernel/random/boot_id"
exec chroot "$root" /bin/sh -c "$*"' sh "$root" "$@"
"""


class Fleet:
    """Cameras with the release 1.0 installed and running state; `ssh` is a folder for PATH."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, self.ssh = folder, folder / "bin"
        self.key = folder / "key.pem"
        self.names = [f"cam-{i:03}" for i in range(count)]
        build.make_key(self.key)
        (folder / "empty").touch()
        self.ssh.mkdir()
        prefix = Path(sys.base_prefix)
        self._binds = [] if prefix.is_relative_to("/usr") else [str(prefix).lstrip("/")]
        text = SSH.replace("@FLEET@", str(folder)).replace("@BINDS@", " ".join(self._binds))
        (self.ssh / "ssh").write_text(text)
        (self.ssh / "ssh").chmod(0o755)
        self._lay_out(folder / self.names[0])
        self._install(folder / self.names[0], self.bundle("1.0", HEALTHY))
        for name in self.names[1:]:
            subprocess.run(["cp", "-a", folder / self.names[0], folder / name], check=True)
        for name in self.names:
            self.restart(name)
        listed = "\n".join(f"  - {{name: {name}, host: {name}}}" for name in self.names)
        self.inventory = folder / "cameras.yaml"
        self.inventory.write_text(f"defaults: {{board: amd64}}\ncameras:\n{listed}\n")

    def bundle(self, version: str, start: str) -> Path:
        """A signed release whose daemon is a shell script."""
        path = self.folder / f"{version}.bundle"
        files = {"start": (start.encode(), True), "version": (version.encode() * 10_000, False)}
        path.write_bytes(build.pack(files, {"version": version, "board": "amd64"}, self.key))
        return path

    def environment(self) -> dict[str, str]:
        path = f"{self.ssh}:{sys.base_prefix}/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return os.environ | {"PATH": path, "PYTHON": sys.executable}

    def command(self, release: Path, *more: str) -> list[str]:
        deploy = FIRMWARE.parent / "deploy.sh"
        options = ["--canary", "1", "--batch", "10%", "--halt-on", "1", "--parallel", "4", *more]
        command = [deploy, "--inventory", self.inventory, "--key", self.key, "--release", release, *options]
        return [str(word) for word in command]

    def deploy(self, release: Path, *more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(release, *more),
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )

    def slots(self, name: str) -> slots.Slots:
        root = self.folder / name
        return slots.Slots(root / "userdata/edge-app", (root / "boot_id").read_text().strip())

    def restart(self, name: str) -> None:
        """Give a camera the identity of another boot."""
        path = self.folder / name / "boot_id"
        path.unlink(missing_ok=True)  # a copy of a camera must not share the file
        path.write_text(f"{os.urandom(16).hex()}\n")

    def problem(self, name: str, releases: set[str]) -> str | None:
        """What is wrong with the release that the camera's next start runs; None if it is whole and one of these."""
        camera = self.slots(name)
        try:
            chosen, _ = camera.boot()
        except bundle.UpdateError as exc:
            return f"{name}: {exc}"
        if chosen not in releases:
            return f"{name}: chose {chosen}"
        return bundle.damage(camera.root / "current")

    def kill(self) -> int:
        """Kill every process of every camera, and every deploy.sh, at once. Returns how many."""
        killed = 0
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                root = os.readlink(entry / "root")
                line = (entry / "cmdline").read_bytes()
                if root.startswith(f"{self.folder}/") or str(self.folder).encode() in line:
                    os.kill(int(entry.name), signal.SIGKILL)
                    killed += 1
            except (OSError, ValueError):
                continue
        return killed

    def _lay_out(self, root: Path) -> None:
        for name in ("usr", *self._binds, "dev", "proc", "etc/init.d", "userdata", "var/run", "run", "tmp", "root"):
            (root / name).mkdir(parents=True, exist_ok=True)
        for name in ("bin", "sbin", "lib", "lib64"):
            if Path("/", name).is_symlink():
                (root / name).symlink_to(f"usr/{name}")
        for name in ("ld.so.cache", "passwd", "group"):
            shutil.copy(Path("/etc", name), root / "etc" / name)
        if Path("/etc/ssl").is_dir():
            shutil.copytree(
                "/etc/ssl", root / "etc/ssl", symlinks=True, ignore=shutil.ignore_patterns("certs", "private")
            )
        (root / "reachable").touch()
        (root / "boot_id").write_text("boot-1\n")

    def _install(self, root: Path, release: Path) -> None:
        """Install as a factory does, and keep the release, so that an update can be rolled back."""
        stage = self.folder / "stage"
        (stage / "keys").mkdir(parents=True)
        shutil.copytree(FIRMWARE / "updater", stage / "updater", ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("setup.sh", "S99edge-app"):
            shutil.copy(FIRMWARE / name, stage / name)
        shutil.copy(self.key.with_suffix(".pub.pem"), stage / "keys/key.pem")
        shutil.copy(release, stage / "release.bundle")
        command = ["sh", stage / "setup.sh", "--prefix", root, "--board", "amd64", "--init", "busybox"]
        subprocess.run(
            command, check=True, capture_output=True, env=self.environment() | {"EDGE_APP_PYTHON": sys.executable}
        )
        camera = slots.Slots(root / "userdata/edge-app", "boot-1")
        camera.boot()
        camera.mark_good()
