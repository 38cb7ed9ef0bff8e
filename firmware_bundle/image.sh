#!/bin/sh
# Build a partition image of a folder, owned by root, and check its size: image.sh ext4|ubifs FOLDER BYTES LABEL OUT
set -eu
kind=$1 folder=$2 size=$3 label=$4 out=$5

fail() {
    echo "image.sh: $1" >&2
    exit 2
}

# SPI NAND of 2 KiB pages and 128 KiB erase blocks, UBI uses two pages of each.
page=2048 peb=131072
leb=$((peb - 2 * page))

need() {
    command -v "$1" >/dev/null 2>&1 || fail "$1 is missing; expected the Debian package $2"
}

case "$size" in
*[!0-9]* | '') fail "size: found '$size'; expected bytes" ;;
esac
holds=$(du -s -B 4096 --apparent-size "$folder" | cut -f1)
holds=$((holds * 4096))
needs=$holds with=''
if [ "$label" = userdata ]; then
    needs=$((2 * holds + 1048576)) with=' with a second release and 1 MiB of data'
fi
[ $((needs * 10)) -le $((size * 9)) ] ||
    fail "$folder needs $needs bytes$with; expected at most 90 % of the partition's $size"

rm -f "$out"
case "$kind" in
ext4)
    PATH=$PATH:/usr/sbin:/sbin
    need mkfs.ext4 e2fsprogs
    as_root=''
    if [ "$(id -u)" != 0 ]; then
        need fakeroot fakeroot
        as_root=fakeroot
    fi
    $as_root mkfs.ext4 -q -F -d "$folder" -L "$label" -m 0 -b 4096 "$out" $((size / 4096))
    ;;
ubifs)
    PATH=$PATH:/usr/sbin:/sbin
    need mkfs.ubifs mtd-utils
    need ubinize mtd-utils
    blocks=$((size / peb))
    usable=$((blocks - 4 - (blocks + 49) / 50)) # UBI's own blocks, and 2 % for bad blocks
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    mkfs.ubifs -r "$folder" -U -m "$page" -e "$leb" -c "$usable" -x zlib -o "$work/volume" ||
        fail "does not fit into $usable blocks of $leb bytes"
    cat >"$work/ubi.ini" <<INI
[$label]
mode=ubi
image=$work/volume
vol_id=0
vol_type=dynamic
vol_name=$label
vol_size=$((usable * leb))
vol_flags=autoresize
INI
    ubinize -o "$out" -m "$page" -p "$peb" "$work/ubi.ini"
    [ "$(stat -c %s "$out")" -le "$size" ] || fail "the image is larger than $size bytes"
    ;;
*) fail "found '$kind'; expected ext4 or ubifs" ;;
esac
echo "$out: $kind, $(stat -c %s "$out") bytes, holding $holds of a partition of $size"
