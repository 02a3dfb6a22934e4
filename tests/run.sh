#!/usr/bin/env bash
# Set up and pass the tests: style, then pytest. Arguments go to pytest.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
. utils/setup.sh
setup tests/requirements.txt
"$python" -m ruff check .
exec "$python" -m pytest "$@"
