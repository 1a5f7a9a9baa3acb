#!/usr/bin/env bash
# README's two commands in an empty root of Debian 12, or of Ubuntu 24.04 where its packages can be had.
#
#     clean_root.sh [debian|ubuntu] [COMMAND...]     as root; COMMAND instead of: make demo && make test
#
# debootstrap makes the root (from apt's own source where this machine is of that distribution, else from debootstrap's), a clone of HEAD
# is put into it, and what the commands say comes out with their times. Of this machine it gets the way to the registries (resolv.conf,
# apt's and pip's settings, folders of packages that those name, certificates) and $LOWRANK_ASSETS, if set, to read. CLEAN_ROOT names a folder that is kept for the next time.
set -euo pipefail
source_dir=$(cd "$(dirname "$0")/.." && pwd)
[ "$(id -u)" -eq 0 ] || { echo "clean_root: debootstrap and chroot need root"; exit 1; }
if [ "${LOWRANK_CLEAN_ROOT_MOUNTS:-}" != own ]; then  # mounts of its own, which end with it
  LOWRANK_CLEAN_ROOT_MOUNTS=own exec unshare --mount --propagation private bash "$source_dir/scripts/clean_root.sh" "$@"
fi
distribution=${1:-debian}
shift || true

script=  # debootstrap's, where it may be older than the suite
case $distribution in
  debian) suite=bookworm components=main keyring=/usr/share/keyrings/debian-archive-keyring.gpg ;;
  ubuntu) suite=noble components=main,universe keyring=/usr/share/keyrings/ubuntu-archive-keyring.gpg script=gutsy ;;
  *) echo "clean_root: unknown distribution '$distribution': debian or ubuntu"; exit 2 ;;
esac
if ! command -v debootstrap > /dev/null; then
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends debootstrap > /dev/null
fi
verify=(--keyring="$keyring")
if [ ! -f "$keyring" ]; then
  echo "clean_root: $keyring is not here: debootstrap cannot verify the packages of $suite"
  verify=(--no-check-gpg)
fi
mirror=$(apt-get indextargets --format '$(REPO_URI)' "Codename: $suite" 'Created-By: Packages' 'Component: main' 2> /dev/null | head -1 || true)

scratch=$(mktemp -d)
trap 'umount -R "$root" 2> /dev/null; rm -rf --one-file-system "$scratch"' EXIT
root=${CLEAN_ROOT:-$scratch/root}
mkdir -p "$root"
if [ ! -x "$root/usr/bin/apt-get" ]; then
  echo "clean_root: debootstrap $suite"
  if [ -n "$script" ] && [ -z "$mirror" ]; then  # a script can be named after a mirror only
    mirror=$(sed -n 's#^[[:space:]]*default_mirror \(.*archive.*\)#\1#p' "/usr/share/debootstrap/scripts/$script" | head -1)
  fi
  debootstrap --variant=minbase "${verify[@]}" --components="$components" "$suite" "$root" $mirror $script > "$scratch/log" 2>&1 ||
    { tail -5 "$scratch/log"; echo "clean_root: the packages of $suite cannot be had here"; exit 77; }
fi
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --rbind /sys "$root/sys"

cp -L /etc/resolv.conf "$root/etc/resolv.conf"
cp /etc/apt/apt.conf.d/*proxy* "$root/etc/apt/apt.conf.d/" 2> /dev/null || true
cp /etc/pip.conf "$root/etc/pip.conf" 2> /dev/null || true
cp -r /etc/xdg/pip "$root/etc/xdg/" 2> /dev/null || true
user_config=${XDG_CONFIG_HOME:-${HOME:-/nowhere}/.config}/pip/pip.conf
if [ -f "$user_config" ]; then
  mkdir -p "$root/root/.config/pip"
  cp -L "$user_config" "$root/root/.config/pip/pip.conf"
fi
for place in $(cat /etc/pip.conf /etc/xdg/pip/pip.conf "$user_config" 2> /dev/null | grep -oE '(=|[[:space:]])(file://)?/[^[:space:]]+' | sed -E 's#^[=[:space:]]##; s#^file://##; s#/simple/?$##') \
             ${PIP_FIND_LINKS:-}; do
  if [ -d "$place" ] && ! mountpoint -q "$root$place"; then
    mkdir -p "$root$place"
    mount --bind -o ro "$place" "$root$place"
  fi
done
certificates=/etc/ssl/certs/ca-certificates.crt
if [ -f $certificates ]; then
  mkdir -p "$root/etc/ssl/certs"
  cp -L $certificates "$root$certificates"
  cp -L $certificates "$root/etc/clean_root.pem"  # installing ca-certificates writes the other anew
fi
rm -rf "$root/root/lowrank"
git clone --quiet --no-hardlinks "$source_dir" "$root/root/lowrank"
assets=
if [ -n "${LOWRANK_ASSETS:-}" ]; then
  assets=/root/assets
  mkdir -p "$root$assets"
  mount --bind -o ro "$LOWRANK_ASSETS" "$root$assets"
fi

. "$source_dir/scripts/clean_env.sh"
if [ -f $certificates ]; then
  for name in SSL_CERT_FILE REQUESTS_CA_BUNDLE CURL_CA_BUNDLE PIP_CERT; do clean_env+=("$name=/etc/clean_root.pem"); done
fi
inside() { chroot "$root" /usr/bin/env -i "${clean_env[@]}" HOME=/root LOWRANK_ASSETS="$assets" bash -ec "cd /root/lowrank; $*"; }
timed() {
  local began=$SECONDS status=0
  inside "$*" || status=$?
  echo "clean_root: $* took $(((SECONDS - began) / 60)) min $(((SECONDS - began) % 60)) s, exit $status"
  return $status
}
# A clone needs git and the commands make: whoever types them has both.
inside "apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends make git > /dev/null"
echo "clean_root: $(inside '. /etc/os-release; echo $PRETTY_NAME'), $(nproc) cores, $(inside 'dpkg-query -W | wc -l') packages"
if [ $# -gt 0 ]; then
  timed "$*"
else
  timed make demo
  timed make test
fi
