# Shared by every script: where the project is, how it speaks, and how it gets what it needs.
# Sourced, never run. Installs only what is missing, asks nothing, and says what it does in one line each.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export ROOT
VENV=$ROOT/.venv
PYTHON=$VENV/bin/python

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# need_debian COMMAND=PACKAGE...: installs the packages whose commands are not on the PATH.
need_debian() {
  local pair missing=()
  for pair in "$@"; do
    command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}")
  done
  [ ${#missing[@]} -eq 0 ] || install_debian "${missing[@]}"
}

# install_debian PACKAGE...: as root, or through sudo if that asks nothing.
install_debian() {
  local sudo=()
  [ "$(id -u)" -eq 0 ] || sudo=(sudo -n)
  say "installing $*"
  "${sudo[@]}" apt-get update -qq </dev/null >/dev/null \
    && DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -y -qq "$@" </dev/null >/dev/null \
    || die "could not install $*: install them by hand and try again"
}

# The C++ oracle: plyvel is C++ LevelDB itself; the rest serves the independent parser rawdump.py.
need_oracle() {
  local wanted=$ROOT/tests/oracle/requirements.txt
  if ! cmp -s "$wanted" "$VENV/requirements.installed"; then
    say "making the Python environment of the C++ oracle (.venv)"
    python3 -c 'import venv, ensurepip' 2>/dev/null || install_debian python3-venv
    rm -rf "$VENV"
    python3 -m venv "$VENV" && "$VENV/bin/pip" install -q --disable-pip-version-check -r "$wanted" \
      || die "could not make .venv: pip says why above"
    cp "$wanted" "$VENV/requirements.installed"
  fi
  export LEVAULT_ORACLE_PYTHON=$PYTHON
}

# target_dir: where cargo puts what it builds, whatever its configuration says.
target_dir() {
  (cd "$ROOT" && cargo metadata --no-deps --offline --format-version 1) | sed 's/.*"target_directory":"\([^"]*\)".*/\1/'
}

# need_levault: $LEVAULT is the tool to run: the one named by LEVAULT_BIN, or a release build of this tree, with
# LEVAULT_FEATURES besides the default ones.
need_levault() {
  if [ -n "${LEVAULT_BIN:-}" ]; then
    LEVAULT=$LEVAULT_BIN
  else
    say "building levault (release)"
    (cd "$ROOT" && cargo build --release --quiet --bin levault --features "${LEVAULT_FEATURES:-}") || die "the build failed"
    LEVAULT=$(target_dir)/release/levault
  fi
  [ -x "$LEVAULT" ] || die "no program at $LEVAULT"
}
