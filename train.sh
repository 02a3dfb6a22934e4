#!/usr/bin/env bash
# The main job in one command: set up, label, train, test.
#
#   ./train.sh                                            the demo: generated scenes, about 5 minutes on a CPU
#   ./train.sh configs/reside6k_s.yaml                    the real job, on data/RESIDE-6K
#   ./train.sh configs/reside6k_s.yaml train.batch=8 run=mine
#   NPROC=4 ./train.sh configs/reside6k_s.yaml            four GPUs
#
# Run the same command again to go on after a stop.
set -eu
root=$(cd "$(dirname "$0")" && pwd)
case "${1:-}" in
  -h | --help) sed -n '2,/^set -eu/{/^set -eu/!s/^# \{0,1\}//p}' "$0"; exit 0 ;;
  *=*) config=$root/configs/demo.yaml ;;
  "") config=$root/configs/demo.yaml ;;
  *) config=$1; shift ;;
esac

. "$root/utils/setup.sh"
setup

stopped=0
trap 'stopped=1' INT TERM
"$python" "$root/clip_text.py" "$config" "$@"
[ $stopped = 0 ] || exit 0
if [ "${NPROC:-1}" -gt 1 ]; then
  "$python" -m torch.distributed.run --standalone --nproc-per-node "$NPROC" "$root/train.py" "$config" "$@"
else
  "$python" "$root/train.py" "$config" "$@"
fi
[ $stopped = 0 ] || exit 0
"$python" "$root/test.py" "$config" "$@"
