#!/bin/bash
#SBATCH --job-name=raycl
#SBATCH --nodes=3
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=12:00:00
#SBATCH --signal=B:USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
#
# This job starts a Ray cluster on its nodes and runs a study on it. From the repository's root:
#
#   sbatch docker/slurm.sh studies/quickstart.py [more options of `raycl run`]
#
# When the time is nearly up, or the head is lost, the study stops and the job requeues itself; it then runs
# what the store lacks. After any other end, the same command resumes the study. For GPUs use `sbatch
# --gpus-per-node=4 docker/slurm.sh ...`.
#
# RAYCL_STORE  folder of results, on a file system that all nodes mount (default: ./results)
# RAYCL_ENV    virtual environment with raycl, on all nodes (default: ./.venv)
# RAYCL_HEAD   address of this node that the other nodes can reach (default: the address of its host name)
set -euo pipefail

store=${RAYCL_STORE:-$SLURM_SUBMIT_DIR/results}
PATH=${RAYCL_ENV:-$SLURM_SUBMIT_DIR/.venv}/bin:$PATH
scratch=/tmp/raycl-$SLURM_JOB_ID-${SLURM_RESTART_COUNT:-0} # on each node; paths of sockets must be short

# Create a token that only this user can read, where all nodes can read it. Ray refuses processes without it.
secrets=$(mktemp --directory "$HOME/.raycl-$SLURM_JOB_ID-XXXXXX") # mode 0700
(umask 077 && od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$secrets/ray_token")
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$secrets/ray_token
export RAY_TMPDIR=$scratch RAY_USAGE_STATS_ENABLED=0 SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK

steps=() driver=
# shellcheck disable=SC2329 # the trap below calls it
finish() {
    trap - EXIT
    ((${#steps[@]} == 0)) || kill "${steps[@]}" 2>/dev/null || true
    wait "${steps[@]}" 2>/dev/null || true
    srun rm -rf "$scratch" || true
    rm -rf "$secrets"
}
trap finish EXIT

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${RAYCL_HEAD:-$(hostname --ip-address | awk '{print $1}')}
if [[ $head == 127.* ]]; then
    echo "slurm.sh: $(hostname) resolves to $head, which other nodes cannot reach; set RAYCL_HEAD" >&2
    exit 2
fi
address=$head:$((20000 + SLURM_JOB_ID % 20000)) # several jobs may share a node

srun mkdir --mode=700 "$scratch"
# Ray gives a node 30 s to start. A busy file system may need longer, so there are up to three attempts.
node=(bash -c 'for _ in 1 2 3; do ray start "$@" --disable-usage-stats --block && break; done' node)
# This node also schedules and keeps the driver, so one CPU fewer executes runs.
srun --nodes=1 --ntasks=1 --nodelist="${nodes[0]}" "${node[@]}" --head --node-ip-address="$head" \
    --port="${address##*:}" --num-cpus=$((SLURM_CPUS_PER_TASK - 1)) --include-dashboard=false &
steps+=($!)
until timeout 30 ray health-check --address "$address" 2>/dev/null; do
    if ((SECONDS > 300)) || ! kill -0 "${steps[0]}" 2>/dev/null; then
        echo "slurm.sh: Ray's head did not start at $address" >&2
        exit 1
    fi
    sleep 1
done
if ((${#nodes[@]} > 1)); then
    srun --nodes=$((${#nodes[@]} - 1)) --ntasks=$((${#nodes[@]} - 1)) --exclude="${nodes[0]}" \
        "${node[@]}" --address="$address" --num-cpus="$SLURM_CPUS_PER_TASK" &
    steps+=($!)
fi

# The study fixes the number of simultaneous runs when it starts, so wait until all nodes have joined.
python - "$address" "${#nodes[@]}" <<'PYTHON'
import sys, time, ray
ray.init(address=sys.argv[1], log_to_driver=False)
deadline = time.monotonic() + 300
while (here := sum(node["Alive"] for node in ray.nodes())) < int(sys.argv[2]):
    if time.monotonic() > deadline:
        sys.exit(f"only {here} of {sys.argv[2]} nodes have joined {sys.argv[1]}")
    time.sleep(1)
PYTHON

again=
trap 'again=yes; kill -TERM "$driver" 2>/dev/null || true' USR1 # the time is nearly up
trap 'kill -TERM "$driver" 2>/dev/null || true' TERM            # scancel
raycl run "$@" --address "$address" --store "$store" &
driver=$!
code=0
wait "$driver" || code=$?
while kill -0 "$driver" 2>/dev/null; do # a signal ends `wait` before it ends the driver
    code=0
    wait "$driver" || code=$?
done
((code != 3 || ${SLURM_RESTART_COUNT:-0} >= 5)) || again=yes # 3: the cluster is gone
[[ -z $again || $code -eq 0 ]] || scontrol requeue "$SLURM_JOB_ID"
exit "$code"
