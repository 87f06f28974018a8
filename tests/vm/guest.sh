#!/bin/bash
# The first process of the virtual machine: mount what is usual, run the job's command in the
# checkout, tell its status to the host, and end the machine. The work of Debian's initrd is done.
# $1 is the folder that the job was unpacked into.

job=$1
export HOME=/root LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /tmp
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tracefs tracefs /sys/kernel/tracing
modprobe --all virtio_console virtio_net
ip link set lo up

# The port of the host that has a name. Its name arrives after its driver is there.
port() {
	local device
	until device=$(grep -lx "$1" /sys/class/virtio-ports/*/name); do
		sleep 0.05
	done
	basename "$(dirname "$device")"
}
output=/dev/$(port output)
status=/dev/$(port status)
ln -s "/dev/$(port record)" "$job/record"

# What the host calls .venv/bin/python is the distribution's here, with the same packages.
mkdir -p "$job/checkout/.venv/bin"
ln -s /usr/bin/python3 "$job/checkout/.venv/bin/python"
export PYTHONPATH=$job/checkout

cd "$job/checkout" || exit
setsid bash "$job/command" </dev/null >"$output" 2>&1
echo $? >"$status"
echo b >/proc/sysrq-trigger # the machine ends instead of starting anew: qemu's -no-reboot
