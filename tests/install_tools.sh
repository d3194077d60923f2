#!/usr/bin/env bash
# Install what some tests start beside Python, with apt-get as root: Slurm and chromium. Do nothing where that does not work;
# those tests then skip and say what they lack.
set -uo pipefail

packages=()
for program in munged slurmctld slurmd sbatch srun; do
    # Daemons live in sbin, which is on no ordinary user's path.
    PATH=$PATH:/usr/sbin:/sbin command -v "$program" >/dev/null || packages=(slurm-wlm munge)
done
command -v chromium >/dev/null || command -v google-chrome >/dev/null || packages+=(chromium)
[ ${#packages[@]} -gt 0 ] || exit 0
if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
    echo "Tests that need ${packages[*]} will be skipped: only apt-get as root can install them."
    exit 0
fi
log=$(mktemp)
if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${packages[@]}"; } >"$log" 2>&1; then
    echo "Tests that need ${packages[*]} will be skipped: apt-get failed ($(tail -n 1 "$log"))."
fi
rm -f "$log"
