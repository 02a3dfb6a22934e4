#!/usr/bin/env bash
# Everything that needs a GPU, in one command of at most six minutes on an H200; no connection needed.
#
#   benchmarks/gpu.sh FOLDER                   appends to FOLDER/gpu.md line by line: cut off, it keeps what it has
#   benchmarks/gpu.sh FOLDER MODEL.py          with a published model file beside this project's networks
#   TINY=1 benchmarks/gpu.sh FOLDER            tiny sizes: does every part run?
set -u
folder=$(mkdir -p "$1" && cd "$1" && pwd)
published=(${2:+--published "$(realpath "${2:-.}")"})
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
[ -x "$python" ] || python=python3
if [ -n "${TINY:-}" ]; then
  sizes=(n) training=(--image 64x64 --batch 2) images=(64x64 80x60) repetitions=2
else
  sizes=(s b) training=(--image 256x256 --batch 16) images=(256x256 620x460 1920x1080 3840x2160) repetitions=10
fi

speed() { "$python" benchmarks/speed.py "$@" --device cuda --repetitions $repetitions "${published[@]}"; }

{
  nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.mem,temperature.gpu --format=csv,noheader
  timeout 150 "$python" -m pytest -m cuda -n 6 | tail -n 15  # processes wait in turn for their kernels to compile
  speed training --size "${sizes[@]}" --precision bf16 fp32 "${training[@]}"
  speed inference --size "${sizes[0]}" --precision fp32 fp16 --image "${images[@]}"
} 2>&1 | tee -a "$folder/gpu.md"
