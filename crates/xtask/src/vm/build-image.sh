#!/usr/bin/env bash
# Builds what the virtual machine boots: kernel, initrd and root file system, all from Debian.
#
#   build-image.sh OUT SUITE
#
# Needs root, debootstrap, mke2fs and busybox. Debian's packages come from the mirror that this machine's own apt uses.
# Nothing is mounted: mke2fs itself fills the file system. Writes vmlinuz, initrd and root.img to OUT.
set -euo pipefail

out=$1
suite=$2
work=$(mktemp -d "$out/build.XXXXXX")
trap 'rm -rf -- "$work"' EXIT
root=$work/root

# The mirror that serves the suite itself, not its updates or security fixes.
# shellcheck disable=SC2016 # apt expands these, not the shell
mirror=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(SUITE) $(COMPONENT)' 'Created-By: Packages' |
    awk -v suite="$suite" '$4 == "main" && ($2 == suite || $3 == suite) { print $1; exit }')
[[ -n $mirror ]] || { echo "apt knows no mirror of Debian $suite" >&2; exit 1; }

# systemd as init, LXC and lxcfs as on a Proxmox node, and the tools that the tests call.
packages=systemd,systemd-sysv,udev,dbus,kmod,lxc,lxc-templates,lxcfs,busybox-static,iproute2,procps,uidmap,curl
debootstrap --variant=minbase --arch=amd64 --include="$packages" "$suite" "$root" "$mirror" >"$work/log" 2>&1 ||
    { tail -n 30 "$work/log" >&2; exit 1; }

# The kernel package depends on tools that only an installed machine needs, so it is unpacked, not installed.
(
    cd "$work"
    package=$(apt-cache depends --important linux-image-cloud-amd64 | awk '/Depends: linux-image-/ { print $2; exit }')
    apt-get download -q -o APT::Sandbox::User=root "$package"
    dpkg-deb --extract "$package"_*.deb kernel
)
release=$(basename "$work"/kernel/boot/vmlinuz-*)
release=${release#vmlinuz-}
mkdir -p "$root/lib/modules"
cp -a "$work/kernel/lib/modules/$release" "$root/lib/modules/"
chroot "$root" depmod "$release"

# The initrd loads the drivers of the root disk, mounts it and starts systemd from it.
initrd=$work/initrd
mkdir -p "$initrd"/{bin,dev,proc,sysroot,modules}
cp "$root/bin/busybox" "$initrd/bin/busybox"
modules=()
while read -r verb path _; do
    [[ $verb == insmod ]] || continue
    name=$(basename "$path")
    [[ -e $initrd/modules/$name ]] || { cp "$root$path" "$initrd/modules/$name"; modules+=("$name"); }
done < <(for name in virtio_pci virtio_blk; do chroot "$root" modprobe --set-version "$release" --show-depends "$name"; done)
{
    echo '#!/bin/busybox sh'
    echo '/bin/busybox mount -t devtmpfs dev /dev'
    echo '/bin/busybox mount -t proc proc /proc'
    for name in "${modules[@]}"; do echo "/bin/busybox insmod /modules/$name"; done
    echo 'until [ -b /dev/vda ]; do /bin/busybox usleep 100000; done'
    echo '/bin/busybox mount -t ext4 /dev/vda /sysroot'
    echo '/bin/busybox umount /proc'
    echo '/bin/busybox mount -o move /dev /sysroot/dev'
    echo 'exec /bin/busybox switch_root /sysroot /sbin/init'
} >"$initrd/init"
chmod 0755 "$initrd/init"
(cd "$initrd" && find . -print | busybox cpio -o -H newc 2>/dev/null) | gzip -1 >"$work/initrd.gz"

# All the machine does is run what is on its second disk, and report how that ended on its second serial line.
echo truth >"$root/etc/hostname"
printf '127.0.0.1 localhost truth\n' >"$root/etc/hosts"
: >"$root/etc/fstab"
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
    fstrim.timer lxc-net.service lxc.service lxc-monitord.service getty@tty1.service serial-getty@ttyS0.service \
    serial-getty@ttyS1.service systemd-pstore.service systemd-firstboot.service; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
cat >"$root/etc/systemd/system/payload.service" <<'UNIT'
[Unit]
Description=Runs what is on the second disk
After=multi-user.target

[Service]
Type=oneshot
TimeoutStartSec=infinity
StandardInput=null
StandardOutput=file:/dev/ttyS1
StandardError=inherit
ExecStartPre=/bin/mkdir -p /payload
ExecStartPre=/bin/mount -o ro /dev/vdb /payload
ExecStart=/payload/run
ExecStopPost=/bin/sh -c 'echo "payload: $SERVICE_RESULT $EXIT_STATUS"'
ExecStopPost=/bin/systemctl --no-block poweroff
UNIT
mkdir -p "$root/etc/systemd/system/graphical.target.wants" "$root/etc/systemd/system/multi-user.target.wants"
ln -sf /lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"
ln -sf ../payload.service "$root/etc/systemd/system/multi-user.target.wants/payload.service"
rm -rf -- "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,man,locale}/*

truncate -s 3G "$work/root.img"
mke2fs -q -t ext4 -E lazy_itable_init=0,root_owner=0:0 -d "$root" "$work/root.img"
mv "$work/kernel/boot/vmlinuz-$release" "$out/vmlinuz"
mv "$work/initrd.gz" "$out/initrd"
mv "$work/root.img" "$out/root.img"
