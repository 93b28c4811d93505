#!/bin/sh
# Replaces `taper` in the tests of suites: `train` writes a run folder with invented numbers, without training.
#
# The patterns below match run folders.
# FAKE_FAIL=PATTERN   these runs end with an error
# FAKE_LATE=PATTERN   these runs end with an error after their result
# FAKE_STOP=PATTERN   these runs stop midway, as after Ctrl-C
# FAKE_KILL=PATTERN   these runs are killed midway, unless they resume
# FAKE_CLOCK=PATTERN  these runs have an adaptive schedule at half the normal rate
# FAKE_CALLS=FILE     each call except --dry-run adds a line with its arguments
# FAKE_DEFAULT=TEXT   a default value in the recipe
# FAKE_WAIT=FILE      runs wait until the file is deleted, or until SIGTERM
set -eu
case "$*" in
  *--dry-run*)
    # The recipe depends on the experiment files and on the arguments.
    shift
    written=$(cat "$1" "$(dirname "$1")/dense.toml" | cksum)
    printf '{"data":"digits","written":"%s","asked":"%s","default":"%s","train":{"epochs":2}}\n' \
      "$written" "$(echo "$*" | tr -d '"' | sed 's/ --device [^ ]*//')" "${FAKE_DEFAULT:-}"
    exit 0 ;;
esac
[ -z "${FAKE_CALLS:-}" ] || echo "$*" >>"$FAKE_CALLS"

[ "$1" = train ] || exit 0
experiment=$2
sparsity=0
seed=0
shift 2
while [ $# -gt 0 ]; do
  case $1 in
    --sparsity) sparsity=$2; shift ;;
    --seed) seed=$2; shift ;;
    --out) out=$2; shift ;;
  esac
  shift
done
[ -f "$experiment" ] || { echo "error: no file $experiment" >&2; exit 2; }
is_new=1
[ ! -d "$out" ] || is_new=0
mkdir -p "$out"
trap 'exit 130' TERM
while [ -n "${FAKE_WAIT:-}" ] && [ -e "$FAKE_WAIT" ]; do sleep 0.1; done

header=epoch,step,lr,sparsity_target,sparsity,n_kept,train_loss,train_accuracy,test_loss,test_accuracy,grad_norm
printf '%s\n0,10,0.05,%s,%s,100,1.5,0.5,1.4,0.55,\n' $header "$sparsity" "$sparsity" >"$out/metrics.csv"
case $out in
  ${FAKE_FAIL:-none}) echo "epoch 1"; echo "error: the loss is not finite at step 10" >&2; exit 1 ;;
  ${FAKE_STOP:-none}) exit 130 ;;
  ${FAKE_KILL:-none}) [ $is_new = 0 ] || kill -9 $$ ;;
esac
printf '1,20,0.0,%s,%s,100,0.5,0.9,0.4,0.9%s,1.0\n' "$sparsity" "$sparsity" "$seed" >>"$out/metrics.csv"
adapt=none
case $out in ${FAKE_CLOCK:-none}) adapt=reciprocal ;; esac
clock=
for step in 0 1 2 3; do
  [ $adapt = none ] || clock=",\"clock\":$((step / 2))"
  printf '{"step":%s,"loss":1.0,"sparsity_target":%s,"sparsity":%s%s}\n' $step "$sparsity" "$sparsity" "$clock"
done >"$out/steps.jsonl"
printf 'step,n_weights,n_before,n_kept,n_entered,n_left\n0,1000,1000,800,0,200\n2,1000,800,200,10,610\n' >"$out/masks.csv"
cat >"$out/run.json" <<END
{"schema":2,"recipe":{"train":{"batch_size":16},"prune":{"quantile":"exact","adapt":"$adapt"}},"segments":[{"from_step":0,"commit":null,
"dirty":false,"versions":{"taper":"0.1.0","candle":"0.11.1"},"machine":{"os":"Fake OS","arch":"fake","cpu":"Fake CPU",
"cores":1,"memory_bytes":1024,"gpu":"Fake GPU"},"device":"cuda:0","threads":1,"kernels":"fake"}]}
END
printf 'epoch,seconds,images_per_second\n0,1.0,64.0\n1,0.5,32.0\n' >"$out/timing.csv"
kept=$(awk "BEGIN { printf \"%d\", 1000 * (1 - $sparsity) + 0.5 }")
cat >"$out/result.json" <<END
{"schema":1,"model":"digits-cnn","data":"digits","method":"x","seed":$seed,"epochs":2,"steps":20,
"test_accuracy":0.9$seed,"test_loss":0.4,"train_loss":0.5,"sparsity_target":$sparsity,"sparsity":$sparsity,
"effective_sparsity":0.99,"n_params":1010,"n_prunable":1000,"n_kept":$kept,"macs_dense":3000,"macs_sparse":300,
"bytes_dense":4040,"bytes_file":4141,"seconds":1.5,"images_per_second":null,"layers":[{"name":"conv1","kind":"conv",
"shape":[10,10,10],"n_weights":1000,"n_kept":$kept,"sparsity":$sparsity,"macs_dense":2000,"macs_sparse":200}]}
END
case $out in ${FAKE_LATE:-none}) exit 1 ;; esac
