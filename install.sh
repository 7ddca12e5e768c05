#!/usr/bin/env bash
# Installs LXC AutoScale ML on a Proxmox VE node: three binaries, three units, three configuration files.
# Existing configuration is kept. A service that does not come up is a failed installation.
set -euo pipefail

readonly UNITS=(lxc_monitor lxc_autoscale_api lxc_autoscale_ml) # the order in which they start
readonly BINARIES=(lxc-monitor lxc-autoscale-api lxc-autoscale-ml)

repository=${LXC_AUTOSCALE_REPO:-https://github.com/fabriziosalmi/proxmox-lxc-autoscale-ml}
reference=${LXC_AUTOSCALE_REF:-main}
root=${DESTDIR:-}
binaries=
start=yes
scratch=

usage() {
    cat <<'USAGE'
Usage: install.sh [--binaries DIR] [--no-start]

  --binaries DIR   install the release binaries that lie in DIR; without it they are built with cargo
  --no-start       install and enable, but do not start
Environment:
  DESTDIR             install below this directory and leave systemd alone
  LXC_AUTOSCALE_REPO  where to clone from when the script does not lie in a checkout
  LXC_AUTOSCALE_REF   branch or tag to clone
USAGE
}

say() { printf '%s\n' "$*"; }
fail() {
    printf 'install.sh: error: %s\n' "$*" >&2
    exit 1
}
cleanup() { [[ -z $scratch ]] || rm -rf -- "$scratch"; }
trap cleanup EXIT

while (($#)); do
    case $1 in
        --binaries) [[ $# -ge 2 ]] || fail "--binaries needs a directory"; binaries=$2; shift 2 ;;
        --no-start) start=no; shift ;;
        -h | --help) usage; exit 0 ;;
        *) usage >&2; fail "unknown option: $1" ;;
    esac
done

[[ -n $root || $EUID -eq 0 ]] || fail "must be run as root"
if [[ -z $root ]]; then
    command -v systemctl >/dev/null || fail "systemd is needed (no systemctl found)"
    command -v pct >/dev/null || fail "this is no Proxmox VE node (no pct found)"
fi

# The checkout: where this script lies, or a fresh clone when it comes through a pipe.
here=$(cd "$(dirname "${BASH_SOURCE[0]:-.}")" && pwd)
if [[ ! -f $here/Cargo.toml || ! -d $here/systemd ]]; then
    command -v git >/dev/null || fail "git is needed to fetch $repository"
    scratch=$(mktemp -d)
    say "Fetching $repository ($reference)"
    git clone --quiet --depth 1 --branch "$reference" "$repository" "$scratch/source"
    here=$scratch/source
fi

if [[ -z $binaries ]]; then
    command -v cargo >/dev/null || fail "cargo is needed to build (https://rustup.rs), or give --binaries DIR"
    say "Building the release binaries"
    packages=()
    for binary in "${BINARIES[@]}"; do packages+=(--package "$binary"); done
    (cd "$here" && cargo build --release --locked "${packages[@]}")
    binaries=${CARGO_TARGET_DIR:-$here/target}/release
fi
for binary in "${BINARIES[@]}"; do
    [[ -x $binaries/$binary ]] || fail "no binary $binaries/$binary"
done

say "Installing binaries to $root/usr/local/bin"
for binary in "${BINARIES[@]}"; do
    install -D -m 0755 "$binaries/$binary" "$root/usr/local/bin/$binary"
done

say "Installing configuration to $root/etc/lxc_autoscale_ml"
for unit in "${UNITS[@]}"; do
    target=$root/etc/lxc_autoscale_ml/$unit.toml
    if [[ ! -e $target ]]; then
        install -D -m 0640 "$here/config/$unit.toml" "$target"
    elif ! cmp -s "$here/config/$unit.toml" "$target"; then
        install -m 0640 "$here/config/$unit.toml" "$target.new"
        say "  kept your $unit.toml; the shipped one lies beside it as $unit.toml.new"
    else
        rm -f -- "$target.new" # from an earlier upgrade, and now the same as yours
    fi
done

say "Installing units to $root/etc/systemd/system"
for unit in "${UNITS[@]}"; do
    install -D -m 0644 "$here/systemd/$unit.service" "$root/etc/systemd/system/$unit.service"
done
install -d -m 0750 "$root/var/lib/lxc_autoscale_ml"

if [[ -n $root ]]; then
    say "Installed below $root; systemd was left alone."
    exit 0
fi

systemctl daemon-reload
for unit in "${UNITS[@]}"; do
    systemctl enable --quiet "$unit.service"
    [[ $start == yes ]] || continue
    # Restart, so that an upgrade runs the new binary; the call returns when the service says it is ready.
    if ! systemctl restart "$unit.service"; then
        journalctl --no-pager --unit "$unit.service" --lines 30 >&2 || true
        fail "$unit did not start; its last log lines stand above"
    fi
    say "  $unit is running"
done
say "Done. Watch it decide:  lxc-autoscale-ml plan"
