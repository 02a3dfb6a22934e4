#!/usr/bin/env bash
# Everything that needs a GPU, measured in one command of under nine minutes; no connection needed.
#
#   benchmarks/gpu.sh FOLDER                    writes FOLDER/gpu.md and FOLDER/gpu.json
#   benchmarks/gpu.sh FOLDER --peer MODEL.py    with a published model file beside this project's networks
#   benchmarks/gpu.sh FOLDER --try              tiny sizes: does every part run?
set -eu
here=$(pwd)
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
[ -x "$python" ] || python=python3
exec "$python" -m benchmarks.gpu --from "$here" "$@"
