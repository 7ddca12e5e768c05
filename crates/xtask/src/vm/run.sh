#!/bin/bash
# Runs inside the virtual machine, as the second disk's payload: the truth test, then the monitor as systemd runs it.
set -euo pipefail

fail() {
    echo "FAILED: $*"
    systemctl --no-pager status lxc_monitor.service || true
    journalctl --no-pager --unit lxc_monitor.service --lines 30 || true
    exit 1
}

# Asks again until something is true; the machine is slow, so the patience is large and never a measure.
eventually() {
    local what=$1 tries=300
    shift
    until "$@" >/dev/null 2>&1; do
        tries=$((tries - 1))
        [[ $tries -gt 0 ]] || fail "$what"
        sleep 0.2
    done
    echo "ok: $what"
}

property() { systemctl show --value --property "$1" lxc_monitor.service; }
has_property() { [[ $(property "$1") == "$2" ]]; }
restarted_more_than() { [[ $(property NRestarts) -gt $1 ]] && has_property ActiveState active; }
status_tells_of_a_cycle() { [[ $(property StatusText) == *container* ]]; }

echo "--- $(uname -sr), $(systemctl --version | head -n 1), LXC $(lxc-start --version)"
[[ -f /sys/fs/cgroup/cgroup.controllers ]] || fail "not control groups version 2 alone"
modprobe -a veth loop
mkfs.ext4 -q /dev/vdc
mkdir -p /srv/data
mount /dev/vdc /srv/data
mkswap /dev/vdd >/dev/null
swapon /dev/vdd

echo "--- every metric against the truth"
cd /srv
LXC_AUTOSCALE_TRUTH_COMPLETE=1 LXC_AUTOSCALE_TRUTH_DATA=/srv/data /payload/build/deps/truth --nocapture

echo "--- the monitor as the installer leaves it to systemd"
# The installer looks for Proxmox; the monitor needs none.
printf '#!/bin/sh\nexit 1\n' >/usr/local/bin/pct
chmod 0755 /usr/local/bin/pct
/payload/project/install.sh --binaries /payload/build --no-start
sed -i 's/^interval_seconds = .*/interval_seconds = 1.0/' /etc/lxc_autoscale_ml/lxc_monitor.toml
lxc-create -n 104 -t busybox >/dev/null
sed -i '/^lxc\.net\|^lxc\.apparmor/d' /var/lib/lxc/104/config
cat >>/var/lib/lxc/104/config <<'LXC'
lxc.apparmor.profile = unconfined
lxc.net.0.type = empty
lxc.cgroup.dir.container = lxc/104
lxc.cgroup.dir.container.inner = ns
lxc.cgroup.dir.monitor = lxc.monitor/104
LXC
lxc-start -n 104

systemctl start lxc_monitor.service # returns when the monitor says that it is ready
has_property ActiveState active || fail "it runs"
echo "ok: it runs once the start has returned"
has_property WatchdogUSec 2min || fail "the watchdog is on: $(property WatchdogUSec)"
eventually "the status text tells of the last cycle" status_tells_of_a_cycle
echo "    $(property StatusText)"
eventually "the metrics file has container 104, its CPU and its root filesystem" \
    grep -q '"104":.*"cpu_cores_used":.*"filesystem_usage_gb"\|"104":.*"filesystem_usage_gb".*"cpu_cores_used"' /var/log/lxc_metrics.json
systemctl reload lxc_monitor.service
has_property ActiveState active || fail "it survives a reload"
echo "ok: it survives a reload"

size=$(stat -c %s /var/log/lxc_metrics.json)
systemctl kill --kill-whom=main --signal=KILL lxc_monitor.service
eventually "it is started again after kill -9" restarted_more_than 0
grew() { [[ $(stat -c %s /var/log/lxc_metrics.json) -gt $size && $(tail -c 2 /var/log/lxc_metrics.json) == ']' ]]; }
eventually "and goes on with the file it had" grew

# A daemon that hangs is ended by the watchdog; two minutes are long to wait for that.
mkdir -p /run/systemd/system/lxc_monitor.service.d
printf '[Service]\nWatchdogSec=3\n' >/run/systemd/system/lxc_monitor.service.d/watchdog.conf
systemctl daemon-reload
systemctl restart lxc_monitor.service
restarts=$(property NRestarts)
systemctl kill --kill-whom=main --signal=STOP lxc_monitor.service
eventually "the watchdog ends it when it hangs, and it is started again" restarted_more_than "$restarts"
systemctl stop lxc_monitor.service
has_property Result success || fail "it ends in order: $(property Result)"
echo "ok: it ends in order"
lxc-stop -k -n 104
echo "--- all of it holds"
