#!/bin/sh
# deploy.sh copies this to the device and runs it there: installs the updater, the key, the service and the bundle.
# Starts nothing. --prefix DIR: work on a root directory instead of this device.
#
#   sh setup.sh --board BOARD [--prefix DIR] [--root /opt/edge-app] [--init systemd|busybox|seed]
#
# seed: called by the init script, which is installed already.
set -eu
umask 022 # the daemon does not run as root and must read these files
here=$(cd "$(dirname "$0")" && pwd) # may be read-only: a seed in /oem
prefix='' board='' root='' init='' python=${EDGE_APP_PYTHON:-python3}
while [ $# -gt 0 ]; do
    case "$1" in
    --prefix) prefix=$2 ;;
    --board) board=$2 ;;
    --root) root=$2 ;;
    --init) init=$2 ;;
    *)
        echo "setup.sh: unknown option $1" >&2
        exit 2
        ;;
    esac
    shift 2
done

if [ -z "$init" ]; then
    init=busybox
    for each in "$prefix/run/systemd/system" "$prefix/lib/systemd/systemd" "$prefix/usr/lib/systemd/systemd"; do
        [ ! -e "$each" ] || init=systemd
    done
fi
if [ -z "$root" ]; then
    root=/opt/edge-app
    [ "$init" = systemd ] || root=/userdata/edge-app
fi
if [ "$init" = systemd ] && [ "$root" != /opt/edge-app ]; then
    echo "setup.sh: --root $root: the systemd unit expects /opt/edge-app" >&2
    exit 2
fi
if [ "$init" = systemd ]; then state=/var/lib/edge-app; else state=$root/data; fi
on=$prefix$root

# Sync before a rename: a power cut leaves the old or the new file, never an empty one.
sync_data() { [ -n "$prefix" ] || sync; }

# Replace a file atomically. One that is the same already may be on a read-only file system.
put() {
    ! cmp -s "$1" "$2" || return 0
    mkdir -p "$(dirname "$2")"
    cp "$1" "$2.new"
    chmod "$3" "$2.new"
    sync_data
    mv "$2.new" "$2"
}

# Enable a unit, unless it is enabled.
enable_unit() {
    [ "$(readlink "$2/$1" 2>/dev/null)" = "/etc/systemd/system/$1" ] && return 0
    mkdir -p "$2"
    ln -sf "../$1" "$2/$1"
}

# Make a folder that only its owner can enter.
private() {
    [ -d "$1" ] || mkdir -m 0700 "$1"
    chmod 0700 "$1"
}

slots() { "$python" -sE "$here/updater/slots.py" --root "$on" "$@"; }

for program in "$python" openssl; do
    command -v "$program" >/dev/null 2>&1 || {
        echo "setup.sh: $program is missing; firmware_bundle/README.md lists what a board needs" >&2
        exit 2
    }
done
if [ "$init" = systemd ] && [ -z "$prefix" ]; then
    found=$(systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p')
    if [ "${found:-0}" -lt 250 ]; then # older versions lack LoadCredential= of a folder
        echo "setup.sh: found systemd ${found:-of no version}; expected 250 or newer" >&2
        exit 2
    fi
fi
mkdir -p "$on/keys" "$on/config"
private "$on/credentials"
[ -f "$on/device.json" ] || {
    printf '{"board": "%s", "wipe": ["%s", "%s"]}\n' "$board" "$state" "$root/credentials" >"$on/device.json.new"
    sync_data
    mv "$on/device.json.new" "$on/device.json"
}
for key in "$here"/keys/*.pem; do
    [ ! -e "$key" ] || put "$key" "$on/keys/$(basename "$key")" 0644
done
slots adopt
if [ "$init" = systemd ]; then
    put "$here/edge-app.service" "$prefix/etc/systemd/system/edge-app.service" 0644
    put "$here/99-edge-app.rules" "$prefix/etc/udev/rules.d/99-edge-app.rules" 0644
    enable_unit edge-app.service "$prefix/etc/systemd/system/multi-user.target.wants"
    for each in edge-app-update.service edge-app-update.timer; do
        put "$here/$each" "$prefix/etc/systemd/system/$each" 0644
    done
    enable_unit edge-app-update.timer "$prefix/etc/systemd/system/timers.target.wants"
    ln -sfn "$state" "$on/data" # configurations use this path on every board
elif [ "$init" = busybox ]; then
    mkdir -p "$prefix/etc/init.d"
    sed "s|@ROOT@|$root|" "$here/S99edge-app" >"$prefix/etc/init.d/S99edge-app.new"
    chmod 0755 "$prefix/etc/init.d/S99edge-app.new"
    sync_data
    mv "$prefix/etc/init.d/S99edge-app.new" "$prefix/etc/init.d/S99edge-app"
fi
[ "$init" = systemd ] || private "$on/data" # systemd makes /var/lib/edge-app
if [ -f "$here/config.yaml" ]; then
    slots install "$here/release.bundle" --config "$here/config.yaml"
else
    slots install "$here/release.bundle"
fi
sync
