#!/usr/bin/env bash
# Removes LXC AutoScale ML. Configuration, history and logs stay unless --purge is given; containers keep
# the sizes they have.
set -euo pipefail

readonly UNITS=(lxc_autoscale_ml lxc_autoscale_api lxc_monitor) # the order in which they stop
readonly BINARIES=(lxc-monitor lxc-autoscale-api lxc-autoscale-ml)

root=${DESTDIR:-}
purge=no

say() { printf '%s\n' "$*"; }
fail() {
    printf 'uninstall.sh: error: %s\n' "$*" >&2
    exit 1
}

while (($#)); do
    case $1 in
        --purge) purge=yes; shift ;;
        -h | --help)
            say "Usage: uninstall.sh [--purge]"
            say "  --purge   remove configuration, history, metrics and logs, too"
            exit 0
            ;;
        *) fail "unknown option: $1" ;;
    esac
done

[[ -n $root || $EUID -eq 0 ]] || fail "must be run as root"

for unit in "${UNITS[@]}"; do
    if [[ -z $root && -e /etc/systemd/system/$unit.service ]]; then
        systemctl disable --now --quiet "$unit.service" || fail "$unit could not be stopped"
    fi
    rm -f -- "$root/etc/systemd/system/$unit.service"
done
[[ -n $root ]] || systemctl daemon-reload

for binary in "${BINARIES[@]}"; do
    rm -f -- "$root/usr/local/bin/$binary"
done

if [[ $purge == yes ]]; then
    rm -rf -- "$root/etc/lxc_autoscale_ml" "$root/var/lib/lxc_autoscale_ml"
    rm -f -- "$root"/var/log/lxc_metrics.json{,.before-*} "$root"/var/log/.lxc_metrics.json.{spare,spare-*,lock,new}
    for unit in "${UNITS[@]}"; do rm -f -- "$root/var/log/$unit.log"{,.*}; done
    say "Removed, with configuration, history and logs."
else
    say "Removed. Configuration (/etc/lxc_autoscale_ml), history (/var/lib/lxc_autoscale_ml) and logs were kept;"
    say "uninstall.sh --purge removes them, too."
fi
