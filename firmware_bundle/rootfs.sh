#!/bin/sh
# Build Debian 12 root file systems with the camera installed, as README.md describes:
#   rootfs.sh --arch arm64,armhf --out DIR [--stage DIR] [--vendor DIR|IMAGE] [--base TAR] [--mirror URL] [--max-mb N]
# A board's kernel, modules, NPU library and 3A service come from its vendor's image.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
arches='' stage='' out='' vendor='' base='' mirror=http://deb.debian.org/debian size=''
while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || {
        echo "rootfs.sh: $1: found no value; expected one" >&2
        exit 2
    }
    case "$1" in
    --arch) arches=$2 ;;
    --stage) stage=$2 ;;
    --out) out=$2 ;;
    --vendor) vendor=$2 ;;
    --base) base=$2 ;;
    --mirror) mirror=$2 ;;
    --max-mb) size=$2 ;;
    *)
        echo "rootfs.sh: unknown option $1; expected --arch --stage --out --vendor --base --mirror --max-mb" >&2
        exit 2
        ;;
    esac
    shift 2
done

fail() {
    echo "rootfs.sh: $1" >&2
    exit 2
}
if [ -z "$arches" ] || [ -z "$out" ]; then fail "expected --arch arm64,armhf and --out DIR"; fi
[ "$(id -u)" = 0 ] || fail "needs root: device nodes, owners, chroot"
[ -z "$vendor" ] || [ -e "$vendor" ] || fail "--vendor $vendor: no such file or folder"
[ -z "$stage" ] || [ -f "$stage/setup.sh" ] || fail "--stage $stage: found no setup.sh; expected what deploy.sh --stage writes"
for each in mmdebstrap:mmdebstrap mksquashfs:squashfs-tools arch-test:arch-test; do
    command -v "${each%%:*}" >/dev/null 2>&1 || fail "${each%%:*} is missing; expected the Debian package ${each##*:}"
done

# Every architecture: systemd, network, ssh, and the libraries that no wheel of a bundle brings.
packages=systemd,systemd-sysv,systemd-timesyncd,systemd-resolved,udev,dbus,dropbear-bin,openssl,ca-certificates,iproute2,kmod
packages=$packages,python3,python3-numpy,python3-yaml,python3-serial,python3-paho-mqtt,python3-psutil,python3-ruamel.yaml

# Let this kernel run programs of another machine, if it can: qemu-user with the flag F works inside a chroot.
register() {
    case "$1" in
    armhf) magic='\x7f\x45\x4c\x46\x01\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x28\x00' emulator=qemu-arm-static ;;
    arm64) magic='\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00' emulator=qemu-aarch64-static ;;
    *) return 1 ;;
    esac
    mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
    emulator=$(command -v "$emulator") || return 1
    control=/proc/sys/fs/binfmt_misc
    [ -e $control/register ] || mount -t binfmt_misc binfmt_misc $control 2>/dev/null || return 1
    printf '%s' ":edge-app-$1:M::$magic:$mask:$emulator:OCF" >$control/register 2>/dev/null
}

# Write the parts of the image that are not packages.
customize() {
    root=$1 architecture=$2
    cp -R "$here/rootfs/." "$root/"
    rm -f "$root/etc/machine-id" "$root/etc/hostname" "$root/var/cache/apt"/*.bin
    : >"$root/etc/machine-id" # PID 1 makes one in memory: the root is read-only
    ln -sfn /run/camera/hostname "$root/etc/hostname"
    ln -sfn /run/systemd/resolve/resolv.conf "$root/etc/resolv.conf"
    mkdir -p "$root/data" "$root/opt"
    rm -rf "$root/root" && ln -sfn data/root "$root/root"
    ln -sfn /data/edge-app "$root/opt/edge-app"
    for each in systemd-networkd systemd-resolved systemd-timesyncd camera-data camera-seed camera-3a dropbear; do
        unit=$(find "$root/etc/systemd/system" "$root/usr/lib/systemd/system" -maxdepth 1 -name "$each.service" | head -n 1)
        [ -z "$unit" ] || chroot_enable "$root" "$each.service" "$unit"
    done
    if [ -n "$stage" ]; then
        mkdir -p "$root/usr/share/edge-app"
        cp -R "$stage" "$root/usr/share/edge-app/seed"
        for each in edge-app.service edge-app-update.service edge-app-update.timer; do
            cp "$stage/$each" "$root/etc/systemd/system/"
        done
        chroot_enable "$root" edge-app.service "$root/etc/systemd/system/edge-app.service"
        chroot_enable "$root" edge-app-update.timer "$root/etc/systemd/system/edge-app-update.timer"
        cp "$stage/99-edge-app.rules" "$root/etc/udev/rules.d/"
    fi
    [ -z "$vendor" ] || take_from_vendor "$root"
    rm -rf "$root/usr/share/doc" "$root/usr/share/man" "$root/usr/share/locale" "$root/usr/share/info" \
        "$root/var/lib/apt/lists" "$root/usr/include" "${root:?}/boot"
    # Mesa's drivers, which OpenCV's graphics packages pull in: nothing here opens a window, and 166 MB go with them.
    rm -rf "$root"/usr/lib/*/dri "$root"/usr/lib/*/libLLVM* "$root"/usr/lib/*/libz3.*
    # Data that nothing here reads: maps for GDAL, names of USB devices, and the package database, as the image is not updated.
    for each in share/proj share/gdal share/gdcm-3.0 share/tcltk share/xml share/iso-codes share/libwacom share/icons \
        share/fonts lib/udev/hwdb.d lib/udev/hwdb.bin; do
        rm -rf "${root:?}/usr/$each"
    done
    rm -rf "$root/var/lib/dpkg" "$root/var/lib/apt" "$root/var/cache"
    find "$root/usr/lib/python3" "$root/usr/lib/python3.11" -name __pycache__ -prune -exec rm -rf {} +
    echo "$architecture" >"$root/etc/camera-image"
}

# Modules, firmware, NPU library and 3A service of a vendor's root file system: a folder, squashfs or ext4 image.
take_from_vendor() {
    tree=$vendor
    if [ -f "$vendor" ]; then
        tree=$(mktemp -d)/tree
        unsquashfs -quiet -no-progress -dest "$tree" "$vendor" >/dev/null 2>&1 ||
            { mkdir -p "$tree" && debugfs -R "rdump / $tree" "$vendor" >/dev/null 2>&1 && [ -e "$tree/lib" ]; } ||
            fail "--vendor $vendor: found no squashfs or ext4 file system; expected the vendor's root file system"
    fi
    for each in lib/modules lib/firmware usr/lib/firmware oem/usr/ko oem/usr/share/iqfiles etc/iqfiles; do
        [ ! -d "$tree/$each" ] || { mkdir -p "$1/$each" && cp -R "$tree/$each/." "$1/$each/"; }
    done
    library='' # what uClibc programs need stays apart from Debian's libraries
    for each in usr/lib/librknnmrt.so oem/usr/lib/librknnmrt.so usr/lib/librknnrt.so usr/lib/aarch64-linux-gnu/librknnrt.so; do
        [ ! -f "$tree/$each" ] || library=$tree/$each
    done
    if [ -n "$library" ] && grep -q 'libc\.so\.0' "$library"; then
        echo "rootfs.sh: $library: linked against uClibc, which Python on Debian cannot load; relink it (README.md)" >&2
    elif [ -n "$library" ]; then
        cp "$library" "$1/usr/lib/"
    else
        echo "rootfs.sh: $vendor: found no librknnmrt.so or librknnrt.so; the NPU cannot be used" >&2
    fi
    for each in usr/bin/rkaiq_3A_server oem/usr/bin/rkaiq_3A_server; do
        [ -f "$tree/$each" ] || continue
        mkdir -p "$1/usr/lib/vendor"
        cp "$tree/$each" "$1/usr/lib/vendor/rkaiq_3A_server"
        find "$tree/lib" "$tree/usr/lib" "$tree/oem/usr/lib" -maxdepth 1 -name '*.so*' -exec cp -P {} "$1/usr/lib/vendor/" \; 2>/dev/null || true
    done
}

chroot_enable() { # as `systemctl enable` without running a program of the image
    wants=$(sed -n 's/^WantedBy=//p' "$3" | head -n 1)
    mkdir -p "$1/etc/systemd/system/${wants:-multi-user.target}.wants"
    ln -sfn "${3#"$1"}" "$1/etc/systemd/system/${wants:-multi-user.target}.wants/$2"
}

build() {
    architecture=$1 image=$out/rootfs-$1.squashfs more=$packages
    [ "$architecture" != armhf ] || more=$more,python3-opencv # no wheel exists: README.md has the measurement
    root=$(mktemp -d)
    if [ -n "$base" ]; then
        tar -C "$root" -xf "$base"
    else
        mmdebstrap --quiet --mode=root --variant=minbase --architectures="$architecture" --include="$more" \
            --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
            --dpkgopt='path-exclude=/usr/share/locale/*' --format=directory bookworm "$root" "$mirror"
    fi
    customize "$root" "$architecture"
    rm -f "$image"
    mksquashfs "$root" "$image" -comp xz -noappend -no-progress -quiet -e proc/* sys/* dev/* tmp/* run/* -wildcards
    rm -rf "$root"
    bytes=$(stat -c %s "$image")
    echo "$image: $bytes bytes"
    [ -z "$size" ] || [ "$bytes" -le $((size * 1000000)) ] || fail "$image: found $bytes bytes; expected at most $size MB"
}

mkdir -p "$out"
made=0
for each in $(echo "$arches" | tr , ' '); do
    case "$each" in
    amd64 | arm64 | armhf) ;;
    *) fail "--arch: found '$each'; expected amd64, arm64 or armhf" ;;
    esac
    if ! arch-test "$each" >/dev/null 2>&1; then
        register "$each" || true
    fi
    if [ -z "$base" ] && ! arch-test "$each" >/dev/null 2>&1; then
        echo "rootfs.sh: $each: skipped: this kernel runs no $each programs, and they cannot be registered; expected the" \
            "package qemu-user-static, and a kernel with binfmt_misc" >&2
        continue
    fi
    build "$each"
    made=$((made + 1))
done
[ "$made" -gt 0 ] || exit 2
