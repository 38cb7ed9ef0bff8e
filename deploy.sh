#!/bin/sh
# Install this checkout on a camera, and roll back unless it delivers frames. Documentation: firmware_bundle/README.md.
set -eu

usage() {
    cat <<'TEXT'
usage: ./deploy.sh [options] root@CAMERA     build, copy, install, start; exit 0: kept, 3: rolled back
       ./deploy.sh --status root@CAMERA      show the running release and its health
       ./deploy.sh --rollback root@CAMERA    roll back to the previous release
       ./deploy.sh --inventory FILE --canary 1 --batch 10% --halt-on 1
                                             roll out to a fleet (--inventory FILE --help); the same command resumes
       ./deploy.sh --bundle-only FILE        only build a signed bundle
       ./deploy.sh --probe root@CAMERA       print the camera's board and Python version
       ./deploy.sh --local DIR               install into a root directory, for tests and factories
       ./deploy.sh --stage DIR               what setup.sh installs, for firmware_bundle/rootfs.sh
       ./deploy.sh --image ext4|ubifs --partition userdata|oem --size BYTES --out FILE
                                             userdata: installed; oem: a seed, installed when userdata is empty

  --board NAME     such as rk3588 or 'Luckfox Pico Max' (edge_app/boards/boards.yaml); default: detected on the camera
  --model DIR      the model folder, default: models/digits
  --config FILE    the camera's own configuration; tried and rolled back with this release
  --key FILE       private signing key, PEM; default: ~/.config/edge-app/signing.pem, generated if missing
  --base DIR       base of an oem image: the vendor's oem folder, with its drivers and libraries
  --wheels DIR     the folder that `build.py wheels` filled; default: downloaded for the board
  --no-wheels      the board has all libraries
  --release FILE   a bundle that is built already
  --version V      default: the version of the package
  --port N         ssh port
TEXT
}

fail() {
    echo "deploy.sh: $1" >&2
    exit 2
}

here=$(cd "$(dirname "$0")" && pwd)
firmware=$here/firmware_bundle
python=${PYTHON:-python3}
for each in "$@"; do # a fleet has options of its own
    [ "$each" != --inventory ] || exec "$python" "$firmware/fleet.py" "$@"
done
action=deploy target='' out='' root='' board='' model=$here/models/digits config='' wheels='' version='' port=22 kind='' partition='' size='' base='' key='' release=''
own_key=${XDG_CONFIG_HOME:-${HOME:-/root}/.config}/edge-app/signing.pem

while [ $# -gt 0 ]; do
    case "$1" in
    --help | -h)
        usage
        exit 0
        ;;
    --status | --rollback | --probe) action=${1#--} ;;
    --no-wheels) wheels=none ;;
    --bundle-only | --local | --stage | --image | --partition | --size | --out | --base | --board | --model | --config | --key | --wheels | --version | --port | --release)
        [ $# -ge 2 ] || fail "$1: found no value; expected one"
        case "$1" in
        --bundle-only) action=bundle out=$2 ;;
        --local) action=local root=$2 ;;
        --stage) action=stage out=$2 ;;
        --image) action=image kind=$2 ;;
        --partition) partition=$2 ;;
        --size) size=$2 ;;
        --out) out=$2 ;;
        --base) base=$2 ;;
        --board) board=$2 ;;
        --model) model=$2 ;;
        --config) config=$2 ;;
        --key) key=$2 ;;
        --wheels) wheels=$2 ;;
        --version) version=$2 ;;
        --port) port=$2 ;;
        --release) release=$2 ;;
        esac
        shift
        ;;
    -*) fail "unknown option $1; expected one of: $(usage | grep -o -e '--[a-z-]*' | sort -u | tr '\n' ' ')" ;;
    *)
        [ -z "$target" ] || fail "found a second camera, $1; expected one"
        target=$1
        ;;
    esac
    shift
done
case "$action" in
deploy | status | rollback | probe) [ -n "$target" ] || fail "no camera named; expected root@CAMERA (--help)" ;;
*) [ -n "$board" ] || fail "expected --board NAME: there is no camera to detect it on" ;;
esac
for each in "$key" "$config" "$release"; do
    [ -z "$each" ] || [ -f "$each" ] || fail "$each: no such file"
done
[ -z "$base" ] || [ -d "$base" ] || fail "--base $base: no such folder"
[ -n "$key" ] || key=$own_key

[ -z "$board" ] || board=$("$python" "$firmware/build.py" board "$board") || exit 2

work=$(mktemp -d)
cleanup() {
    [ ! -S "$work/ssh" ] || ssh -o ControlPath="$work/ssh" -O exit "$target" 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# One ssh connection for all commands, so that a password is asked for once. EDGE_APP_SSH_OPTIONS is split at spaces on purpose.
remote() {
    # shellcheck disable=SC2086,SC2029
    ssh -p "$port" -o ControlMaster=auto -o ControlPath="$work/ssh" -o ControlPersist=60 ${EDGE_APP_SSH_OPTIONS:-} \
        "$target" "$@"
}

# Sent as text, since the device does not have this checkout.
# shellcheck disable=SC2016  # expanded on the device
where='root=/opt/edge-app; [ -e $root/device.json ] || root=/userdata/edge-app; slots="python3 -sE $root/updater/slots.py"
init=/etc/init.d/S99edge-app; restart() { if [ -d /run/systemd/system ]; then systemctl daemon-reload
udevadm control --reload 2>/dev/null; systemctl --no-block restart edge-app; else $init restart; fi; }'

# Print the name that bundles for the camera's board have. boards.py reads these lines.
ask_board() {
    # shellcheck disable=SC2016  # expanded on the device
    found=$(remote 't=/proc/device-tree; [ ! -e $t/model ] || { printf "model "; tr "\0" "\n" <$t/model; echo; }
[ ! -e $t/compatible ] || tr "\0" "\n" <$t/compatible | sed "s/^/compatible /"
echo "machine $(uname -m)"; sed -n "s/^MemTotal: *\([0-9]*\) kB/memory \1/p" /proc/meminfo') || fail "$target: cannot be reached"
    printf '%s\n' "$found" | "$python" "$firmware/build.py" board - || exit 2
}

# Build $work/release.bundle. Generates a development key if there is none.
build() {
    if [ ! -f "$key" ]; then
        "$python" "$firmware/build.py" key "$key" >/dev/null
        echo "generated a development key: $key (keep it: cameras installed with it trust no other key)"
    fi
    if [ -n "$release" ]; then
        cp "$release" "$work/release.bundle"
        return
    fi
    if [ -z "$wheels" ]; then
        wheels=$work/wheels
        set -- --board "$board" --python "${1:-3.11}" --out "$wheels"
        [ -z "$config" ] || set -- "$@" --config "$config"
        "$python" "$firmware/build.py" wheels "$@"
    fi
    set -- --board "$board" --model "$model" --key "$key"
    [ -z "$config" ] || set -- "$@" --camera-config "$config"
    [ "$wheels" = none ] || set -- "$@" --wheels "$wheels"
    [ -z "$version" ] || set -- "$@" --version "$version"
    "$python" "$firmware/build.py" bundle "$@" --out "$work/release.bundle"
}

# Collect what is copied to the device: setup.sh and the files that it installs.
stage() {
    mkdir -p "$work/stage/keys" "$work/stage/updater"
    cp "$firmware"/updater/*.py "$work/stage/updater"
    for each in setup.sh edge-app.service edge-app-update.service edge-app-update.timer S99edge-app 99-edge-app.rules; do
        cp "$firmware/$each" "$work/stage"
    done
    openssl pkey -in "$key" -pubout -out "$work/stage/keys/$(basename "${key%.pem}").pem"
    cp "$work/release.bundle" "$work/stage"
    [ -z "$config" ] || cp "$config" "$work/stage/config.yaml"
}

case "$action" in
bundle)
    build
    cp "$work/release.bundle" "$out"
    ;;
local)
    build
    stage
    mkdir -p "$root"
    sh "$work/stage/setup.sh" --prefix "$(cd "$root" && pwd)" --board "$board"
    ;;
stage)
    [ ! -e "$out" ] || fail "--stage $out: exists; expected a new folder"
    build
    stage
    printf '%s\n' "$board" >"$work/stage/board"
    cp -R "$work/stage" "$out"
    ;;
image)
    if [ -z "$out" ] || [ -z "$size" ]; then fail "--image: expected --size BYTES and --out FILE"; fi
    build
    stage
    printf '%s\n' "$board" >"$work/stage/board"
    case "$partition" in
    userdata)
        sh "$work/stage/setup.sh" --prefix "$work/root" --board "$board" --init busybox
        cp "$work/root/etc/init.d/S99edge-app" "$work/root/userdata/edge-app"
        sh "$firmware/image.sh" "$kind" "$work/root/userdata" "$size" userdata "$out"
        ;;
    oem)
        [ -z "$base" ] || cp -RP "$base" "$work/oem"
        mkdir -p "$work/oem/edge-app"
        cp -R "$work/stage" "$work/oem/edge-app/seed"
        sed "s|@ROOT@|/userdata/edge-app|" "$firmware/S99edge-app" >"$work/oem/edge-app/S99edge-app"
        chmod 0755 "$work/oem/edge-app/S99edge-app"
        sh "$firmware/image.sh" "$kind" "$work/oem" "$size" oem "$out"
        ;;
    *) fail "--partition: found '$partition'; expected userdata or oem" ;;
    esac
    ;;
status)
    # shellcheck disable=SC2016  # expanded on the device
    remote "$where"'; $slots status; if [ -d /run/systemd/system ]; then systemctl --no-pager --lines 5 status edge-app
else $init status; fi; true'
    ;;
rollback)
    # shellcheck disable=SC2016  # expanded on the device
    remote "$where"'; $slots rollback --reason "requested by deploy.sh" && restart'
    ;;
deploy | probe)
    [ -n "$board" ] || board=$(ask_board)
    there=$(remote 'python3 -c "import sys; print(\"%d.%d\" % sys.version_info[:2])"') ||
        fail "$target: python3 does not run there; expected 3.10 or newer"
    case "$there" in
    2.* | 3.[0-9]) fail "$target: found Python $there; expected 3.10 or newer" ;;
    esac
    if [ "$action" = probe ]; then
        echo "$board $there"
        exit 0
    fi
    echo "$target: board $board, Python $there"
    build "$there"
    stage
    name=$("$python" "$firmware/build.py" name "$work/release.bundle")
    # shellcheck disable=SC2016  # expanded on the device
    tar -C "$work/stage" -cf - . | remote 'set -e; d=$(mktemp -d); trap "rm -rf $d" EXIT; tar -C "$d" -xf -
sh "$d/setup.sh" --board '"$board"
    remote "$where; restart; \$slots follow $name"
    ;;
esac
