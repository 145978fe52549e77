#!/bin/bash
# setup.sh [--check]: installs QEMU and the test programs, and fetches the guest's kernel into the cache.
# Cache: $SHUNT_LAB_CACHE, else ~/.cache/shunt-lab. With everything in place it takes a second and touches nothing.
# --check: only say whether the lab is ready (exit status 0) or what is missing (1).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${SHUNT_LAB_CACHE:-${HOME:-/root}/.cache/shunt-lab}
recipe=1   # raise it when the contents of the cache change
packages=(sockperf redis-server redis-tools nginx-light curl python3 dpdk-dev iproute2 procps tcpdump ethtool)
unpackers=(xz-utils gzip cpio)
modules="9p 9pnet 9pnet_virtio fscache netfs virtio virtio_ring virtio_pci virtio_pci_modern_dev virtio_pci_legacy_dev
  virtio_net net_failover failover igb igbvf dca i2c-algo-bit e1000 e1000e vmxnet3 vfio vfio_virqfd vfio_iommu_type1
  vfio-pci vfio-pci-core irqbypass 8021q garp mrp stp llc tun veth bridge sch_netem af_packet"

say() { echo "lab: $*"; }
die() { echo "lab: $*" >&2; exit 1; }
installed() { [ "$(dpkg-query -W -f '${db:Status-Abbrev}' "$1" 2>/dev/null)" = "ii " ]; }
has_igb() {
  command -v qemu-system-x86_64 >/dev/null || return 1
  # the answer of this very binary is remembered: asking takes a second
  local id; id=$(stat -L -c '%s.%Y' "$(command -v qemu-system-x86_64)")
  [ "$(cat "$cache/qemu" 2>/dev/null)" = "$id" ] && return 0
  qemu-system-x86_64 -device help 2>/dev/null | grep -q '"igb"' || return 1
  mkdir -p "$cache" 2>/dev/null && echo "$id" > "$cache/qemu" || true
}
missing_packages() { for p in "${packages[@]}"; do installed "$p" || echo "$p"; done; }
kernel_ready() { [ "$(cat "$cache/recipe" 2>/dev/null)" = "$recipe" ] && [ -s "$cache/vmlinux" ] && [ -s "$cache/base.img" ]; }

missing=$(missing_packages)
todo=
[ -z "$missing" ] || todo+=" packages ($(echo $missing));"
has_igb || todo+=" QEMU with igb;"
kernel_ready || todo+=" guest kernel in $cache;"
[ -n "$todo" ] || { say "ready: $cache ($(cat "$cache/version"))"; exit 0; }
if [ "${1:-}" = --check ]; then say "missing:${todo%;}"; exit 1; fi
say "missing:${todo%;}; fetching it now"

mkdir -p "$cache"
exec 9>"$cache/lock"
flock -n 9 || { say "another set-up holds $cache/lock, waiting for it"; flock 9; }
. /etc/os-release
[ "${VERSION_CODENAME:-}" = bookworm ] || die "this set-up is for Debian 12 (bookworm); here is ${PRETTY_NAME:-unknown}"
root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else die "not root and no sudo: as root, run $here/setup.sh, or: $*"; fi
}
apt() { root env DEBIAN_FRONTEND=noninteractive apt-get -y -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3 "$@"; }
# One line for each index that apt knows: archive, codename. A machine that never ran "apt-get update" knows none.
indexes() { apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT)' 'Created-By: Packages' 2>/dev/null; }

if ! indexes | grep -q ' bookworm main$' || [ -n "$missing" ]; then say "updating the package lists"; apt -q update; fi

if [ -n "$missing" ]; then
  "$here/../../cmake/install-deps.sh" --tests
  missing=$(missing_packages)
fi
for p in "${unpackers[@]}"; do installed "$p" || missing+=" $p"; done
[ -z "${missing// }" ] || apt install --no-install-recommends $missing

if ! has_igb; then
  if ! indexes | grep -q ' bookworm-backports main$'; then
    uri=$(indexes | awk '$2 == "bookworm" && $3 == "main" { print $1; exit }')
    key=/usr/share/keyrings/debian-archive-keyring.gpg
    list=/etc/apt/sources.list.d/shunt-lab-backports.list
    [ -e "$key" ] && option="[signed-by=$key] " || option=
    say "adding bookworm-backports (QEMU 10) in $list"
    echo "deb $option${uri:-http://deb.debian.org/debian/} bookworm-backports main" | root tee "$list" >/dev/null
    apt -q update -o Dir::Etc::sourcelist="$list" -o Dir::Etc::sourceparts=- -o APT::Get::List-Cleanup=0
  fi
  say "installing QEMU from bookworm-backports (14 MB)"
  apt install --no-install-recommends -t bookworm-backports qemu-system-x86
  has_igb || die "$(command -v qemu-system-x86_64) does not know the igb device: QEMU 8 or later is needed"
fi

if ! kernel_ready; then
  image=$(apt-cache depends linux-image-amd64 | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -1)
  [ -n "$image" ] || die "apt knows no linux-image-amd64: run apt-get update, then this again"
  version=${image#linux-image-}
  tmp=$(mktemp -d "$cache/new.XXXXXX")
  trap 'rm -rf "$tmp"' EXIT
  cd "$tmp"
  say "fetching the guest's kernel $version (70 MB)"
  fetch() { apt-get download -o APT::Sandbox::User=root -o Acquire::Retries=3 "$image" busybox-static; }
  fetch || { say "the package lists are out of date, updating them"; apt -q update; fetch; }
  say "unpacking the kernel and $(echo $modules | wc -w) modules"
  dpkg --fsys-tarfile busybox-static_*.deb | tar -x ./bin/busybox
  parts="./boot/vmlinuz-$version ./lib/modules/$version/modules.order ./lib/modules/$version/modules.builtin"
  for m in $modules; do parts+=" */$m.ko"; done
  dpkg --fsys-tarfile "$image"_*.deb | tar -x --wildcards $parts 2>tar.log ||   # some are built in, in some versions
    ! grep -v 'Not found in archive\|previous errors' tar.log
  # The kernel uncompressed: QEMU enters it through PVH, which saves three seconds of decompression under emulation.
  offset=$(LC_ALL=C grep -abo "$(printf '\3757zXZ')" "boot/vmlinuz-$version" | head -1 | cut -d: -f1)
  tail -c +$((offset + 1)) "boot/vmlinuz-$version" | xz -dc > vmlinux 2>/dev/null || true   # xz complains of what follows
  [ "$(head -c4 vmlinux | tail -c3)" = ELF ] || die "cannot unpack the kernel of $image"
  mkdir -p rd/bin rd/lib rd/dev rd/proc rd/sys rd/r
  mv lib/modules rd/lib/modules
  cp bin/busybox rd/bin/
  ln -s busybox rd/bin/sh
  ./bin/busybox depmod -b "$PWD/rd" "$version"
  (cd rd && find . | cpio -o -H newc --quiet -R 0:0 | gzip -1) > base.img
  rm -f "$cache/recipe"
  mv vmlinux base.img "$cache/"
  echo "$version" > "$cache/version"
  echo "$recipe" > "$cache/recipe"
fi
say "ready: $cache ($(cat "$cache/version"))"
