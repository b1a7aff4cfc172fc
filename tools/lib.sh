# Sourced by the other scripts here: where things are, and how to act as another user.
# shellcheck shell=bash

set -euo pipefail
umask 022

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)

say() { printf '==> %s\n' "$*" >&2; }
die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# The version of every crate here, and so of the extension.
project_version() {
    sed -n '/^\[workspace\.package\]/,/^\[/s/^version *= *"\(.*\)"$/\1/p' "$repo/Cargo.toml"
}

# PostgreSQL refuses to run as root: its programs then run as the user `postgres`.
as_server_user() {
    if [ "$(id -u)" = 0 ]; then
        setpriv --reuid=postgres --regid=postgres --clear-groups "$@"
    else
        "$@"
    fi
}

# The major version of a pg_config ("PostgreSQL 15.20 (Debian …)" gives 15).
pg_config_major() {
    local version
    version=$("$1" --version) || die "$1 --version fails"
    version=${version#PostgreSQL }
    printf '%s\n' "${version%%[!0-9]*}"
}

# Debian's pg_config of the default major. The build of that major always names this very path: another spelling of
# it would make cargo build the PostgreSQL bindings anew.
default_pg_config=/usr/lib/postgresql/15/bin/pg_config

check_major() {
    case $1 in
    15 | 16 | 17 | 18) ;;
    *) die "PostgreSQL ${1:-(none)} is not one of 15, 16, 17, 18" ;;
    esac
}
