#!/usr/bin/env bash
# The main job in one command: set up, label, train, test.
#
#   ./train.sh                                            the demo: generated scenes, five minutes on two CPU cores
#   ./train.sh configs/reside6k_s.yaml                    the real job, on data/RESIDE-6K
#   ./train.sh configs/reside6k_s.yaml train.batch=8 run=mine
#   NPROC=4 ./train.sh configs/reside6k_s.yaml            four GPUs
#   ./train.sh configs/reside6k_s.yaml --dry-run          what it would cost, also before the data are there
#
# Run the same command again to go on after a stop.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"
set -eu
root=$(cd "$(dirname "$(readlink -f "$0")")" && pwd)
. "$root/utils/setup.sh"
config=$root/configs/demo.yaml
case "${1:-}" in
  -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit 0 ;;
  "" | -* | *=*) ;;
  *) config=$1; shift ;;
esac
dry_run=
for argument; do
  case "$argument" in
    --dry-run) dry_run=yes ;;
    -*) fail "unknown option $argument: see train.sh --help" ;;
  esac
done
case "${NPROC:-1}" in
  0* | *[!0-9]*) fail "NPROC=$NPROC is no number of processes" ;;
esac
setup

# A signal is passed on to the running script, which saves what it has; the scripts after it are not begun.
stopped=
child=
stop() {
  stopped=yes
  [ -z "$child" ] || kill -TERM "$child" 2>/dev/null || true
}
trap stop INT TERM HUP

run() {
  [ -z "$stopped" ] || exit 0
  local code=0
  "$python" "$@" &
  child=$!
  wait "$child" || code=$?
  while kill -0 "$child" 2>/dev/null; do  # a signal ends the wait, not the child
    code=0
    wait "$child" || code=$?
  done
  if [ -n "$stopped" ]; then
    echo "stopped: run the same command again to go on"
    exit 0
  fi
  [ "$code" = 0 ] || exit "$code"
}

[ -z "$dry_run" ] || { run "$root/train.py" "$config" "$@"; exit 0; }
run "$root/clip_text.py" "$config" "$@"
if [ "${NPROC:-1}" -gt 1 ]; then
  run -m torch.distributed.run --standalone --nproc-per-node "$NPROC" "$root/train.py" "$config" "$@"
else
  run "$root/train.py" "$config" "$@"
fi
run "$root/test.py" "$config" "$@"
