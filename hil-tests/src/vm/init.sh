#!/bin/busybox sh
# Process 1's first words in a guest: file systems, and the drivers of what every machine has. What makes it one
# of the two machines comes from the rig.
/bin/busybox --install -s
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
mkdir -p /dev/pts
mount -t devpts pts /dev/pts
mount -t tmpfs run /run
mkdir -p /run/lock /var/lock
modprobe virtio_pci
modprobe virtio_console
while [ ! -e /dev/vport0p1 ]; do usleep 10000; done
