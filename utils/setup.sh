# Sourced by train.sh and tests/run.sh with $root set: leaves in $python an interpreter that satisfies requirements.txt.
# The python on PATH (an active virtualenv, conda) is used as it is where it does; otherwise .venv is made and reused.

fail() {
  echo "$(basename "$0"): $1" >&2
  exit 2
}

satisfied() {  # satisfied PYTHON FILE...: whether every pinned package of the files is installed in its version
  "$1" - "${@:2}" 2>/dev/null <<'EOP'
import sys
from importlib.metadata import PackageNotFoundError, version

def installed(name):
    try:
        return version(name).partition("+")[0]  # 2.11.0+cu130 is 2.11.0
    except PackageNotFoundError:
        return None

for path in sys.argv[1:]:
    for line in open(path):
        need, _, marker = line.strip().partition(";")  # NAME==VERSION; python_version >= or < "3.11"
        if not need or need.startswith("#") or marker and ("<" in marker) != (sys.version_info < (3, 11)):
            continue
        name, _, pinned = need.partition("==")
        # opencv-python is opencv-python-headless and windows
        assert pinned in (installed(name), installed(name.replace("-headless", ""))), name
EOP
}

setup() {  # setup [MORE_REQUIREMENTS...]
  local venv=$root/.venv base files=("$root/requirements.txt" "$@")
  for python in python "$venv/bin/python"; do
    satisfied "$python" "${files[@]}" && return
  done

  if ! "$python" -c '' 2>/dev/null; then
    base=$(command -v python3 || command -v python) || fail "no python3 found: install Python 3.10 or newer"
    "$base" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
      fail "$("$base" --version) is too old: install Python 3.10 or newer"
    echo "setting up $venv (once, about 5 GB)"
    "$base" -m venv --clear "$venv" || fail "cannot make $venv: install Python's venv (on Debian: python3-venv)"
  fi
  local pip=("$python" -m pip install --disable-pip-version-check)
  if ! "$python" -c 'import pip' 2>/dev/null; then
    if command -v uv >/dev/null; then
      pip=(uv pip install --python "$python")
    else
      "$python" -m ensurepip >/dev/null 2>&1 || fail "$venv has no pip: install uv, or on Debian python3-venv"
    fi
  fi
  "${pip[@]}" --quiet "${files[@]/#/-r}" ||
    fail "the packages of ${files[*]} could not be installed: see the message above, mend its cause, and run again"
}
