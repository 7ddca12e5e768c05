#!/bin/bash
# Runs inside the virtual machine, as the second disk's payload: the truth test, then the three services as systemd runs
# them.
set -euo pipefail

echo "--- $(uname -sr), $(systemctl --version | head -n 1), LXC $(lxc-start --version)"
[[ -f /sys/fs/cgroup/cgroup.controllers ]] || { echo "FAILED: not control groups version 2 alone"; exit 1; }
modprobe -a veth loop
mkfs.ext4 -q /dev/vdc
mkdir -p /srv/data
mount /dev/vdc /srv/data
mkswap /dev/vdd >/dev/null
swapon /dev/vdd

echo "--- every metric against the truth"
cd /srv
LXC_AUTOSCALE_TRUTH_COMPLETE=1 LXC_AUTOSCALE_TRUTH_DATA=/srv/data /payload/build/deps/truth --nocapture

exec /payload/services
