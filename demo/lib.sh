# Sourced by the scripts here: where the demo lives, and waiting for conditions.
# shellcheck shell=bash
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
source "$here/../tools/lib.sh"

prefix=$("$repo/tools/pg" prefix 15)

# Beside the private copy, which the server's user can reach; where that path is too long for a socket (107 bytes),
# below /tmp.
run=$(dirname "$prefix")/demo
if [ ${#run} -gt 80 ]; then
    run=/tmp/assets-fdw-demo-$(printf '%s' "$repo" | sha256sum | cut -c 1-12)
fi

make_run_folder() {
    rm -rf "$run"
    mkdir -m 0755 "$run"
    [ "$(id -u)" != 0 ] || chown postgres:postgres "$run"
}

wait_for() { # wait_for WHAT COMMAND…
    local what=$1 deadline=$((SECONDS + 60))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $deadline ] || die "$what does not come up; its log is in $run"
        sleep 0.1
    done
}
