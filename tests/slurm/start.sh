#!/usr/bin/env bash
# A real Slurm on this machine's loopback, for tests: one node, two CPUs, two pretended GPUs, two partitions.
#
#   eval "$(tests/slurm/start.sh start)"   starts what is not running, and exports SLURM_CONF
#   tests/slurm/start.sh stop              ends jobs and daemons and removes the folder
#
# A last argument names the folder of its files; every user has one by default. What each step does goes to stderr, and only
# the environment to export to stdout. Exit status: 0, or 77 after one sentence that says why there is no Slurm.
set -euo pipefail

action=${1:-start}
folder=${2:-/tmp/slurm-test-$(id -u)}
conf=$folder/slurm.conf
mark=$folder/made-by-start.sh
# Inside a job of another Slurm, its variables would speak for that one.
unset "${!SLURM_@}" "${!SBATCH_@}" "${!SRUN_@}" "${!SCANCEL_@}"
export SLURM_CONF=$conf
# Daemons live in sbin, which is on no ordinary user's path.
PATH=$PATH:/usr/sbin:/sbin

no_slurm() {
    # Half a cluster is of no use to anyone.
    stop
    echo "No Slurm here: $1." >&2
    exit 77
}

# The reason a daemon left in its log, or that there is none.
last_words() {
    grep -hiE 'fatal|error' "$folder/$1.log" 2>/dev/null | grep -vi mpi | tail -n 1 | sed 's/\.$//' | grep . || echo "its log says nothing"
}

# The process of a pid file, if it still runs.
running() {
    local pid
    pid=$(cat "$folder/$1.pid" 2>/dev/null) && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$1" ] && echo "$pid"
}

# Tries a command every fifth of a second, for so many seconds.
within() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.2
    done
}

free_port() {
    local port=$1
    # A port to which one can connect is taken, by another Slurm perhaps.
    while (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
        port=$((port + 10))
    done
    echo "$port"
}

installed() {
    local name
    for name in munged slurmctld slurmd sbatch srun sinfo squeue scancel; do
        command -v "$name" >/dev/null || return 1
    done
}

write_configuration() {
    local host user
    host=$(uname -n)
    host=${host%%.*}
    user=$(id -un)
    # stop removes the folder, so it must be nobody else's.
    if [ -e "$folder" ] && ! rmdir "$folder" 2>/dev/null; then
        no_slurm "$folder holds something else; name an empty folder"
    fi
    # Others may pass (munge insists that its socket can be reached) but not list.
    mkdir -p "$folder/state" "$folder/spool" 2>/dev/null || no_slurm "$folder cannot be made"
    chmod 711 "$folder"
    touch "$mark"
    # A key of this cluster's own: /etc/munge stays as it is.
    (umask 077 && head -c 128 /dev/urandom >"$folder/munge.key")
    local ctld slurmd
    ctld=$(free_port 26817)
    slurmd=$(free_port 26818)
    cat >"$conf" <<END
ClusterName=loopback
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$ctld
SlurmdPort=$slurmd
# Everything runs as whoever starts it.
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
CryptoType=crypto/munge
# A requeued job waits for the end of its credential, which is 120 s elsewhere.
AuthInfo=socket=$folder/munge.socket,cred_expire=5
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
# A container lets nobody make cgroups, so processes are followed by their parents and bound to no CPU.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
# Looks at waiting jobs every other second, not every minute.
SchedulerType=sched/builtin
SchedulerParameters=sched_interval=2
# A job of the partition urgent puts one of main back into the queue, which first gets its user signal.
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
JobRequeue=1
# From SIGTERM to SIGKILL.
KillWait=5
ReturnToService=2
# The two CPUs below are believed, whatever the machine has.
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName=$host NodeAddr=127.0.0.1 NodeHostname=$host CPUs=2 RealMemory=512 Gres=gpu:2 State=UNKNOWN
PartitionName=main Nodes=$host Default=YES PriorityTier=1 GraceTime=20 MaxTime=60 State=UP
PartitionName=urgent Nodes=$host PriorityTier=10 PreemptMode=OFF MaxTime=60 State=UP
END
    # Slurm looks for it beside slurm.conf.
    echo "CgroupAutomount=no" >"$folder/cgroup.conf"
    # Any device file passes for a GPU: jobs get CUDA_VISIBLE_DEVICES, and no device is opened.
    printf 'NodeName=%s Name=gpu File=%s\n' "$host" /dev/null "$host" /dev/zero >"$folder/gres.conf"
}

answers() {
    [ "$(sinfo -h -p main -o %t)" = idle ]
}

start() {
    installed || no_slurm "Debian's slurm-wlm and munge are not installed (make test-tools)"
    # Running already: only say so. Jobs may make it busy, so any answer will do.
    if running munged >/dev/null && running slurmctld >/dev/null && running slurmd >/dev/null && sinfo -h >/dev/null 2>&1; then
        echo "Slurm runs already, in $folder." >&2
    else
        # What is left of a cluster that broke would hold its ports.
        stop
        write_configuration
        # --force, since /tmp may be written by others, which munged takes for a risk.
        munged --force --num-threads=1 --key-file="$folder/munge.key" --socket="$folder/munge.socket" \
            --pid-file="$folder/munged.pid" --log-file="$folder/munged.log" --seed-file="$folder/munged.seed" >&2 ||
            no_slurm "munged did not start: $(last_words munged)"
        # -c: no memory of earlier jobs.
        slurmctld -c >&2 || no_slurm "slurmctld did not start: $(last_words slurmctld)"
        slurmd >&2 || no_slurm "slurmd did not start: $(last_words slurmd)"
        within 30 answers || no_slurm "its node is not idle after 30 seconds: $(last_words slurmd)"
        # A node that says idle may still be unable to start anything: ask for a step and for a batch job.
        timeout 30 srun --quiet hostname >&2 || no_slurm "srun hostname failed: $(last_words slurmd)"
        (cd "$folder" && timeout 30 sbatch --quiet --wait --output="$folder/first.out" --wrap hostname >&2) ||
            no_slurm "sbatch --wrap hostname failed: $(last_words slurmd)"
    fi
    echo "export SLURM_CONF='$conf'"
}

queue_empty() {
    [ -z "$(squeue -h)" ]
}

kill_tree() {
    local child
    for child in $(cat "/proc/$1"/task/*/children 2>/dev/null); do
        kill_tree "$child"
    done
    kill -KILL "$1" 2>/dev/null || true
}

# Asks daemons to end, all at once, and does not ask for ever.
end() {
    local name pid pids=()
    for name in "$@"; do
        if pid=$(running "$name"); then
            kill "$pid" 2>/dev/null || true
            pids+=("$pid")
        fi
    done
    for pid in "${pids[@]}"; do
        within 10 eval "! kill -0 $pid" || kill_tree "$pid"
    done
}

stop() {
    local pid
    # Jobs first: a job's own daemon outlives slurmd.
    if running slurmctld >/dev/null && running slurmd >/dev/null && sinfo -h >/dev/null 2>&1; then
        scancel --user="$(id -un)" || true
        within 20 queue_empty || echo "Jobs did not end within 20 seconds." >&2
    fi
    # What is left of jobs, when there is no slurmctld to end them: what was started with this very configuration.
    for pid in $(grep -lx slurmstepd /proc/[0-9]*/comm 2>/dev/null | cut -d/ -f3); do
        if { tr '\0' '\n' <"/proc/$pid/environ" | grep -qx "SLURM_CONF=$conf"; } 2>/dev/null; then
            kill_tree "$pid"
        fi
    done
    # munged last, since the others need it to say goodbye.
    end slurmd slurmctld
    end munged
    # Nothing but what this script made.
    if [ -f "$mark" ]; then
        rm -rf "$folder"
    fi
}

case $action in
    start) start ;;
    stop) stop ;;
    *)
        echo "Use: tests/slurm/start.sh start [FOLDER] | stop [FOLDER]" >&2
        exit 2
        ;;
esac
