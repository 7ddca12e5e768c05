#!/usr/bin/env bash
# Removes LXC AutoScale ML, its users included. Configuration, history and logs stay, as root's, unless --purge is given.
# Containers keep the sizes they have, and only what is about to be removed could put them back: so it asks first.
set -euo pipefail

readonly UNITS=(lxc_autoscale_ml lxc_autoscale_api lxc_monitor) # the order in which they stop
readonly BINARIES=(lxc-monitor lxc-autoscale-api lxc-autoscale-ml)
readonly USERS=(lxc-monitor lxc-autoscale-ml lxc-autoscale-api)
readonly GROUP=lxc-autoscale

root=${DESTDIR:-}
purge=no
sure=no

say() { printf '%s\n' "$*"; }
fail() {
    printf 'uninstall.sh: error: %s\n' "$*" >&2
    exit 1
}

while (($#)); do
    case $1 in
        --purge) purge=yes; shift ;;
        --yes) sure=yes; shift ;;
        -h | --help)
            say "Usage: uninstall.sh [--purge] [--yes]"
            say "  --purge   remove configuration, history, metrics and logs, too"
            say "  --yes     do not ask; needed where there is no terminal"
            exit 0
            ;;
        *) fail "unknown option: $1" ;;
    esac
done

[[ -n $root || $EUID -eq 0 ]] || fail "must be run as root"
readonly etc=$root/etc/lxc_autoscale_ml state=$root/var/lib/lxc_autoscale_ml log=$root/var/log
readonly units=$root/etc/systemd/system

if [[ -x $root/usr/local/bin/lxc-autoscale-api ]]; then
    say "Containers keep the sizes they have now. What they had before the first change is known to the API alone, and this"
    say "puts them back, as far as that does no harm, while the services still run:"
    say "    systemctl stop lxc_autoscale_ml"
    say "    lxc-autoscale-api undo --all --to original"
fi
[[ $purge == no ]] || say "With --purge, configuration, history and logs are lost."
if [[ $sure == no ]]; then
    [[ -t 0 ]] || fail "nothing was removed: say --yes, since there is no terminal to ask at"
    read -r -p "Remove LXC AutoScale ML now? [y/N] " answer || true
    [[ $answer == [yY] || $answer == [yY][eE][sS] ]] || fail "nothing was removed"
fi

# What the REST back end has in Proxmox, which is not ours to remove. The name of the token is before the secret.
token=
if [[ -r $etc/proxmox_token ]]; then token=$(sed -n '1s/^\([^=]*\)=.*/\1/p' "$etc/proxmox_token"); fi

for unit in "${UNITS[@]}"; do
    if [[ -z $root && -e $units/$unit.service ]]; then
        systemctl disable --now --quiet "$unit.service" || fail "$unit could not be stopped"
    fi
    rm -f -- "$units/$unit.service"
done
rm -f -- "$units"/lxc_monitor.service.d/cgroup-v1.conf "$units"/lxc_autoscale_api.service.d/rest.conf
# A directory with additions of your own stays.
rmdir -- "$units"/{lxc_monitor,lxc_autoscale_api}.service.d 2>/dev/null || true
rm -f -- "$root/etc/sysusers.d/lxc_autoscale_ml.conf" "$root/etc/tmpfiles.d/lxc_autoscale_ml.conf"
[[ -n $root ]] || systemctl daemon-reload

for binary in "${BINARIES[@]}"; do
    rm -f -- "$root/usr/local/bin/$binary"
done

# The links, and what only a running daemon needs.
for name in lxc_metrics.json lxc_monitor.log lxc_autoscale_ml.log lxc_autoscale_api.log lxc_autoscale_audit.jsonl; do
    [[ ! -L $log/$name ]] || rm -f -- "$log/$name"
done
rm -f -- "$log"/lxc_autoscale_ml/monitor/.lxc_metrics.json.{lock,new,spare,spare-*}
rm -f -- "$log"/lxc_autoscale_ml/api/lxc_autoscale_audit.jsonl.lock

if [[ $purge == yes ]]; then
    rm -rf -- "$etc" "$state" "$log/lxc_autoscale_ml"
    rm -f -- "$log"/lxc_metrics.json{,.before-*} "$log"/.lxc_metrics.json.{spare,spare-*,lock,new}
    rm -f -- "$log"/{lxc_monitor,lxc_autoscale_ml,lxc_autoscale_api}.log{,.*} "$log"/lxc_autoscale_audit.jsonl{,.*}
else
    # What is kept stands under the names it is known by, and belongs to nobody who is about to go.
    for file in "$log"/lxc_autoscale_ml/{monitor,ml,api}/lxc_*; do
        [[ ! -e $file || -e $log/${file##*/} ]] || mv -- "$file" "$log/"
    done
    rmdir -- "$log"/lxc_autoscale_ml/{monitor,ml,api} "$log/lxc_autoscale_ml" 2>/dev/null || true
    if [[ -z $root ]]; then
        for kept in "$etc" "$state" "$log"/lxc_metrics.json* "$log"/lxc_{monitor,autoscale_ml,autoscale_api}.log* \
            "$log"/lxc_autoscale_audit.jsonl*; do
            [[ ! -e $kept ]] || chown -R -h root:root "$kept"
        done
    fi
fi
if [[ -z $root ]]; then
    for user in "${USERS[@]}"; do
        if getent passwd "$user" >/dev/null; then userdel "$user"; fi
    done
    if getent group "$GROUP" >/dev/null; then groupdel "$GROUP"; fi
fi

if [[ $purge == yes ]]; then
    say "Removed, with configuration, history and logs."
else
    say "Removed. Configuration (/etc/lxc_autoscale_ml), history (/var/lib/lxc_autoscale_ml) and logs were kept;"
    say "uninstall.sh --purge removes them, too."
fi
if [[ $token == *'!'* ]]; then
    say "Proxmox still has what the REST back end used. If nothing else does:"
    say "    pveum user token remove '${token%%!*}' '${token#*!}'"
    # The user that the documentation makes for it alone; any other is somebody.
    [[ ${token%%!*} != autoscale@pve ]] || say "    pveum user delete autoscale@pve"
    say "    pveum role delete ROLE    # LxcAutoscale, LxcAutoscaleStorage, LxcAutoscaleNetwork, LxcAutoscaleCluster"
    [[ $purge == yes ]] || say "Until then the secret in /etc/lxc_autoscale_ml/proxmox_token is good."
fi
