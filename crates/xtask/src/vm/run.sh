#!/bin/bash
# Runs inside the virtual machine, from its second disk: the truth test, then the test of the three services under
# systemd.
set -euo pipefail

echo "--- $(uname -sr), $(systemctl --version | head -n 1), LXC $(lxc-start --version)"
[[ -f /sys/fs/cgroup/cgroup.controllers ]] || { echo "FAILED: the machine does not have control groups of version 2 alone"; exit 1; }
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
