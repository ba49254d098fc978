#!/bin/bash
# Boots systemd as the first process of namespaces of its own, over an overlay of this machine's files: what it
# changes is gone when it ends. It says READY=1 to the socket FOLDER/notify.
# Usage: boot_systemd.sh FOLDER, as root.
set -eu
folder=$1
if [ "${2-}" != inside ]; then
    mkdir "$folder/cgroup" "$folder/root"
    mount -t cgroup2 none "$folder/cgroup"
    mkdir -p "$folder/cgroup/bassloop-booted"
    echo $$ > "$folder/cgroup/bassloop-booted/cgroup.procs"
    umount "$folder/cgroup"
    exec unshare --mount --pid --fork --kill-child --cgroup --ipc --uts --net "$0" "$folder" inside
fi
mount --make-rprivate /
mount -t tmpfs none "$folder/root"
cd "$folder/root"
mkdir upper work all
mount -t overlay overlay -o lowerdir=/,upperdir=upper,workdir=work all
cd all
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 none sys/fs/cgroup
mount -t tmpfs none run
mkdir run/booted
mount --bind "$folder" run/booted
mount -t tmpfs none tmp
mount -t tmpfs -o mode=755 none dev
for device in null zero full random urandom tty; do
    touch "dev/$device"
    mount --bind "/dev/$device" "dev/$device"
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
mount -t tmpfs none dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
# Nothing of this machine's own is started.
rm -rf etc/systemd/system/*.wants
: > etc/fstab
ln -sf /lib/systemd/system/basic.target etc/systemd/system/default.target
for unit in dbus.socket dbus.service systemd-udevd.service systemd-udevd-control.socket systemd-udevd-kernel.socket \
    systemd-udev-trigger.service systemd-modules-load.service systemd-sysctl.service systemd-remount-fs.service \
    systemd-resolved.service systemd-networkd.service systemd-timesyncd.service dev-hugepages.mount \
    dev-mqueue.mount sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount \
    sys-fs-fuse-connections.mount proc-sys-fs-binfmt_misc.automount; do
    ln -sf /dev/null "etc/systemd/system/$unit"
done
mkdir -p old
pivot_root . old
umount -l /old
# Outside of a container, systemd does this itself; credentials are handed over through it.
mount --make-rshared /
exec env -i container=bassloop NOTIFY_SOCKET=/run/booted/notify PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --show-status=false
