# shellcheck shell=bash disable=SC2154
# The rest is the same for every suite. The lines above set: folder, the folder of the suite; token, a file in it; log,
# the file for the output of the job; job, its id; command, the program with its arguments.

# Ends with a message that `scontrol show job` shows on every node, because there may be no log file.
refuse() {
    echo "error: $1" >&2
    scontrol update "JobId=$SLURM_JOB_ID" "Comment=$1"
    exit 2
}
node="${SLURMD_NODENAME:-$(uname -n)}"
if ! cd "$folder" 2>/dev/null || ! [ -e "$token" ]; then
    refuse "$folder on $node is not the folder that the suite was submitted from; put it on a file system that all nodes share"
fi
[ -x "${command[0]}" ] || refuse "${command[0]} is not a program on $node; put it on a file system that all nodes share"
mkdir -p "${log%/*}"
exec >>"$log" 2>&1
echo "$(date '+%F %T'): job $job begins on $node, requeued ${SLURM_RESTART_COUNT:-0} times"

# Slurm signals only this shell, 2 minutes before the time limit. Each signal ends one `wait`.
signals=0
run=
# shellcheck disable=SC2317 # The trap calls it.
stop() {
    signals=$((signals + 1))
    [ -z "$run" ] || kill -TERM "$run" 2>/dev/null
}
trap stop TERM
"${command[@]}" &
run=$!
# A signal may have come before the run was started.
[ "$signals" = 0 ] || kill -TERM "$run"
for ((waits = 0; waits <= signals; waits++)); do
    wait "$run"
    code=$?
done
echo "$(date '+%F %T'): exit code $code, $signals signals"

# 130: stopped with a checkpoint; 143: stopped before it had begun. Slurm itself requeues a job after a node failure or
# a preemption, but not at its time limit. A cancelled job is not RUNNING any more, and stays cancelled.
if [ "$signals" -gt 0 ] && { [ "$code" = 130 ] || [ "$code" = 143 ]; } \
    && [ "$(squeue --noheader --jobs="$job" --format=%T)" = RUNNING ]; then
    echo "requeueing the job, which then resumes from its checkpoints"
    scontrol requeue "$job" || echo "not requeued; submit the suite again to continue" >&2
fi
exit "$code"
