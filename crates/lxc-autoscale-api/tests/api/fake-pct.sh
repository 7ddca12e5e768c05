#!/bin/sh
# Stands in for Proxmox's `pct` in the tests: it keeps containers as configuration files below the directory it
# is linked into, writes every call to argv.log, and says what the real one says in the cases the tests need.
# A file hook/<command> is sourced first; it may fail, hang, or half do the work.
set -u
root=$(dirname "$0")
printf '%s\n' "$*" >>"$root/argv.log"
env >"$root/environment"
command=$1 id=$2
shift 2
configs=$root/etc/pve/lxc
conf=$configs/$id.conf
sockets=$root/proc/net/unix

fail() {
    printf '%s\n' "$1" >&2
    exit "${2:-255}"
}
running() { grep -q "@/var/lib/lxc/$1/command\$" "$sockets"; }
put() {
    awk -v line="$1: $2" -v key="$1:" '
        !done && /^\[/ { print line; done = 1 }
        !done && index($0, key) == 1 { print line; done = 1; next }
        { print }
        END { if (!done) print line }' "$conf" >"$conf.tmp.$$" && mv "$conf.tmp.$$" "$conf"
}
current() { awk '/^\[/ { exit } NF' "$1"; }
stop_now() { grep -v "@/var/lib/lxc/$id/command\$" "$sockets" >"$sockets.new"; mv "$sockets.new" "$sockets"; }

[ -f "$root/hook/$command" ] && . "$root/hook/$command"

case $command in stop) ;; *) [ -f "$conf" ] || fail "Configuration file 'nodes/proxmox/lxc/$id.conf' does not exist" 2 ;; esac
if lock=$(sed -n 's/^lock: //p' "$conf" | grep .) && [ "$command" != unlock ] && [ "$command" != listsnapshot ]; then
    fail "CT is locked ($lock)"
fi

case $command in
set)
    while [ $# -gt 0 ]; do
        case $1 in
        -delete) sed -i "/^$2:/d" "$conf" ;;
        *) put "${1#-}" "$2" ;;
        esac
        shift 2
    done
    ;;
resize)
    size=$(sed -n 's/^rootfs:.*size=\([0-9]*\)G.*/\1/p' "$conf")
    added=${2#+}
    sed -i "s/^\(rootfs:.*size=\)[0-9]*G/\1$((size + ${added%G}))G/" "$conf"
    echo "  Logical volume pve/vm-$id-disk-0 successfully resized."
    ;;
snapshot)
    grep -q "^\[$1\]\$" "$conf" && fail "snapshot name '$1' already used"
    section=$(current "$conf")
    put parent "$1"
    printf '\n[%s]\n#%s\n%s\nsnaptime: 1795459355\n' "$1" "$3" "$section" >>"$conf"
    echo "  Logical volume \"snap_vm-$id-disk-0_$1\" created."
    ;;
delsnapshot)
    grep -q "^\[$1\]\$" "$conf" || fail "snapshot '$1' does not exist"
    awk -v head="[$1]" '/^\[/ { skip = ($0 == head) } !skip' "$conf" >"$conf.tmp.$$" && mv "$conf.tmp.$$" "$conf"
    ;;
rollback)
    grep -q "^\[$1\]\$" "$conf" || fail "snapshot '$1' does not exist"
    stop_now
    put parent "$1"
    ;;
listsnapshot)
    indent=
    for name in $(sed -n 's/^\[\(.*\)\]$/\1/p' "$conf"); do
        about=$(awk -v head="[$name]" '/^\[/ { here = ($0 == head) } here && /^#/ { print substr($0, 2); exit }' "$conf")
        printf '%s`-> %-27s 2026-11-23 18:42:35     %s\n' "$indent" "$name" "${about:-no-description}"
        indent="$indent "
    done
    printf '%s`-> current                                             You are here!\n' "$indent"
    ;;
clone)
    new=$1 snapshot='' hostname=''
    shift
    while [ $# -gt 0 ]; do
        case $1 in
        --snapname) snapshot=$2 ;;
        --hostname) hostname=$2 ;;
        esac
        shift 2
    done
    [ -f "$configs/$new.conf" ] && fail "CT $new already exists on node 'proxmox'" 2
    running "$id" && [ -z "$snapshot" ] && fail "Full clone of a running container is only possible from a snapshot" 2
    current "$conf" | sed "s/^hostname: .*/hostname: $hostname/; /^parent:/d" >"$configs/$new.conf"
    echo "create full clone of mountpoint rootfs (local-lvm:vm-$id-disk-0)"
    ;;
destroy)
    running "$id" && fail "unable to destroy CT $id - container is running"
    rm "$conf"
    ;;
unlock) sed -i '/^lock: /d' "$conf" ;;
start)
    running "$id" && fail "CT $id already running"
    echo "0000000000000000: 00000002 00000000 00010000 0001 01 20101 @/var/lib/lxc/$id/command" >>"$sockets"
    ;;
stop)
    running "$id" || fail "CT $id not running"
    stop_now
    ;;
shutdown | reboot)
    running "$id" || fail "CT $id not running"
    [ "$command" = reboot ] || stop_now
    ;;
status) if running "$id"; then echo "status: running"; else echo "status: stopped"; fi ;;
*) fail "ERROR: unknown command 'pct $command'" ;;
esac
