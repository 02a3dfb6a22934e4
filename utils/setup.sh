# Sourced by train.sh and tests/run.sh with $root set: leaves in $python an interpreter that satisfies requirements.txt.
# An active virtualenv or conda environment that satisfies it is used as it is; otherwise .venv is made once and reused.

satisfied() {  # satisfied PYTHON REQUIREMENTS...: whether every pinned package is installed in its version
  "$@" 2>/dev/null <<'EOF'
import sys
from importlib.metadata import version
from pip._vendor.packaging.requirements import Requirement

for path in sys.argv[1:]:
    for line in open(path):
        if line.strip() and not line.startswith("#"):
            need = Requirement(line.strip())
            if need.marker is None or need.marker.evaluate():
                assert need.specifier.contains(version(need.name), prereleases=True)
EOF
}

setup() {
  local files=("$root/requirements.txt" "$@") args=() file
  for file in "${files[@]}"; do args+=(-r "$file"); done
  if [ -n "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ] && satisfied python - "${files[@]}"; then
    python=python
    return
  fi
  python=$root/.venv/bin/python
  satisfied "$python" - "${files[@]}" && return
  local base
  base=$(command -v python3 || command -v python) || { echo "train.sh: no python3 found: install Python 3.10 or newer" >&2; exit 2; }
  "$base" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "train.sh: $("$base" --version) is too old: install Python 3.10 or newer" >&2; exit 2; }
  echo "setting up $root/.venv (once)"
  "$python" -c 'import pip' 2>/dev/null || "$base" -m venv --clear "$root/.venv" ||
    { echo "train.sh: cannot make $root/.venv: install Python's venv (on Debian: apt-get install python3-venv)" >&2; exit 2; }
  "$python" -m pip install --quiet --disable-pip-version-check "${args[@]}" ||
    { echo "train.sh: the packages of requirements.txt could not be installed: see pip's message above, then run again" >&2; exit 2; }
}
