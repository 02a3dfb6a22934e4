# Sourced by train.sh and tests/run.sh with $root set: leaves in $python an interpreter that satisfies requirements.txt.
# An active virtualenv or conda environment that satisfies it is used as it is; otherwise .venv is made once and reused.

fail() {
  echo "$(basename "$0"): $1" >&2
  exit 2
}

satisfied() {  # satisfied PYTHON FILE...: whether every pinned package of the files is installed in its version
  "$1" - "${@:2}" 2>/dev/null <<'EOF'
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

setup() {  # setup [MORE_REQUIREMENTS...]
  local venv=$root/.venv base file
  local files=("$root/requirements.txt" "$@")
  if [ -n "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ] && satisfied python "${files[@]}"; then
    python=python
    return
  fi
  python=$venv/bin/python
  [ ! -e "$venv/incomplete" ] && satisfied "$python" "${files[@]}" && return

  base=$(command -v python3 || command -v python) || fail "no python3 found: install Python 3.10 or newer"
  "$base" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    fail "$("$base" --version) is too old: install Python 3.10 or newer"
  if [ -e "$venv/incomplete" ] || ! "$python" -c 'import pip' 2>/dev/null; then
    echo "setting up $venv (once, about 5 GB)"
    "$base" -m venv --clear "$venv" || fail "cannot make $venv: install Python's venv (on Debian: python3-venv)"
  fi
  touch "$venv/incomplete"  # an interrupted installation is begun afresh
  for file in "${files[@]}"; do
    "$python" -m pip install --quiet --disable-pip-version-check -r "$file" ||
      fail "the packages of $file could not be installed: see pip's message above, mend its cause, and run again"
  done
  rm "$venv/incomplete"
}
