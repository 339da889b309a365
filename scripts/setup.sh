#!/bin/sh
# Makes .venv with casemate in it, exactly as uv.lock says. Needs Python 3.11 or newer and no root; takes uv from PATH
# when it is new enough, else puts one into .tools. Writes nothing outside this folder but uv's own cache.
set -eu

UV_VERSION=0.13.8  # what .tools gets
UV_OLDEST=0.8      # oldest that reads our lock

cd "$(dirname "$0")/.."

fail() {
    printf 'setup: %s\n' "$1" >&2
    [ $# -lt 2 ] || printf 'hint: %s\n' "$2" >&2
    exit 1
}

# The first interpreter on PATH that runs and is new enough; a name may be there and not run (pyenv's shims).
find_python() {
    for name in python3 python3.13 python3.12 python3.11 python3.14 python; do
        "$name" -c 'import sys; sys.version_info >= (3, 11) or sys.exit(1); print(sys.executable)' 2>/dev/null && return
    done
    return 1
}

# uv at least UV_OLDEST?
fits() {
    version=$("$1" --version 2>/dev/null) || return 1
    "$python" - "$version" "$UV_OLDEST" <<'PYTHON'
import re, sys
found, oldest = (tuple(map(int, re.findall(r"\d+", text)[:2])) for text in sys.argv[1:])
sys.exit(found < oldest)
PYTHON
}

# uv into .tools: with the venv module's own pip, or with the interpreter's where Debian has split ensurepip off.
make_uv() {
    echo "setup: installing uv $UV_VERSION into .tools" >&2
    rm -rf .tools
    if "$python" -c 'import ensurepip' 2>/dev/null; then
        "$python" -m venv .tools
        .tools/bin/python -m pip install --quiet "uv==$UV_VERSION"
    elif "$python" -m pip --version >/dev/null 2>&1; then
        "$python" -m venv --without-pip .tools
        "$python" -m pip --python .tools/bin/python install --quiet "uv==$UV_VERSION"
    else
        fail "$python has neither ensurepip nor pip, and no uv $UV_OLDEST or newer is on PATH" \
            "install one of them: apt-get install python3-venv, or https://docs.astral.sh/uv/"
    fi
}

python=$(find_python) || fail "no Python 3.11 or newer on PATH" "install one, for example: apt-get install python3"

wanted="$python $(cat uv.lock pyproject.toml attester/pyproject.toml | cksum)"
if [ -x .venv/bin/casemate ] && [ "$(cat .venv/.setup 2>/dev/null)" = "$wanted" ]; then
    exit 0
fi

uv=uv
fits "$uv" || uv=.tools/bin/uv
fits "$uv" || make_uv

echo "setup: installing casemate and its tools into .venv" >&2
unset VIRTUAL_ENV
UV_PYTHON_DOWNLOADS=never UV_PROJECT_ENVIRONMENT=.venv UV_HTTP_TIMEOUT="${UV_HTTP_TIMEOUT:-180}" \
    "$uv" sync --quiet --frozen --python "$python"
printf '%s\n' "$wanted" > .venv/.setup
