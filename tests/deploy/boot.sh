# Starts systemd in the Debian of folder $1, below the control group $2, in namespaces of its own. Its view of the kernel's
# settings cannot be written, and rights that reach the machine are gone; all its processes end with it.
set -eu
if [ -z "${TAWTIN_INSIDE:-}" ]; then
    echo $$ >"$2/cgroup.procs"
    TAWTIN_INSIDE=1 exec unshare --cgroup --mount --uts --ipc --pid --fork --kill-child sh "$0" "$1" "$2"
fi
mount --rbind "$1" "$1"
mount --make-rprivate /
cd "$1"
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 none sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs dev
for each in null zero full random urandom tty; do
    touch "dev/$each"
    mount --bind "/dev/$each" "dev/$each"
done
mkdir dev/shm
mount -t tmpfs tmpfs dev/shm
ln -s /proc/self/fd dev/fd
mount -t tmpfs -o mode=755 tmpfs run
exec setpriv --bounding-set=-sys_time,-sys_boot,-sys_module,-syslog --inh-caps=-all chroot "$1" \
    /usr/bin/env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /usr/lib/systemd/systemd --system --unit=test.target --log-target=console --show-status=no
