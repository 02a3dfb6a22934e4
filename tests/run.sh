#!/usr/bin/env bash
# Set up and pass the tests: style, then pytest in three processes, of which each often waits for a script.
# Arguments go to pytest.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
. utils/setup.sh
setup tests/requirements.txt
"$python" -m ruff check .
export OMP_NUM_THREADS=1  # threads of several processes would wait for one another
exec "$python" -m pytest --numprocesses 3 --dist worksteal "$@"
