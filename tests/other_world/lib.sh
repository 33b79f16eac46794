# shellcheck shell=bash
# What the checks of this directory share. A check sources it first.
set -euo pipefail

readonly SLOW=600

fail() { echo "FAILED: $*"; exit 1; }

# Asks again and again, as there is nothing to wait for.
until_so() { # WHAT COMMAND [ARG]...
    local deadline=$((SECONDS + SLOW))
    echo "until $1"
    until "${@:2}" >/dev/null 2>&1; do
        ((SECONDS < deadline)) || fail "never: $1"
        sleep 0.5
    done
}

equal() { # WHAT EXPECTED FOUND
    [ "$2" = "$3" ] || fail "$1 is \"$3\" and not \"$2\""
}

has() { # WHAT PART TEXT
    case $3 in *"$2"*) ;; *) fail "$1 has no \"$2\": $3" ;; esac
}

lacks() { # WHAT PART TEXT
    case $3 in *"$2"*) fail "$1 has \"$2\": $3" ;; esac
}

# As alice, in her directory, beside her systemd.
as_alice=(setpriv --reuid alice --regid alice --init-groups env -C /home/alice -i
    PATH=/usr/local/bin:/usr/bin:/usr/sbin HOME=/home/alice USER=alice LANG=C.UTF-8
    XDG_RUNTIME_DIR=/run/user/2001 DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/2001/bus)
alice() { "${as_alice[@]}" "$@"; }
podman() { alice podman "$@"; }

# What the functions below ask. A check of Podman says engine=("${as_alice[@]}" podman).
engine=(docker)

# Nothing of a check is left for the next one, but over a reboot.
tidy() {
    local code=$? left
    ((code != 88)) || return
    [ "${engine[0]}" = docker ] || podman pod rm --all --force
    ! left=$("${engine[@]}" ps --all --quiet | xargs) || [ -z "$left" ] ||
        xargs "${engine[@]}" rm --force <<<"$left"
    ! left=$("${engine[@]}" volume ls --quiet | xargs) || [ -z "$left" ] ||
        xargs "${engine[@]}" volume rm --force <<<"$left"
} >/dev/null
trap tidy EXIT

log() { "${engine[@]}" logs "$1" 2>&1; }

# Waits for a line of a command that goes on.
until_line() { # TEXT COMMAND [ARG]...
    echo "until \"$1\""
    exec 4< <(exec timeout "$SLOW" "${@:2}" 2>&1)
    local from=$!
    grep -qF -m 1 -- "$1" <&4 || fail "never: \"$1\""
    kill "$from" 2>/dev/null || true
    exec 4<&-
}

until_log() { until_line "$2" "${engine[@]}" logs --follow "$1"; }

# To ask for it again and again would take the machine longer than to become healthy.
until_healthy() {
    case ${engine[*]} in
        *podman) "${engine[@]}" wait --condition healthy "$1" >/dev/null ;;
        *) until_line "health_status: healthy" docker events --filter "container=$1" \
            --since "$(inspect "$1" '{{.State.StartedAt}}')" ;;
    esac
}

inspect() { "${engine[@]}" inspect --format "$2" "$1"; }

# The status of GET /api at the port of the examples.
api() { curl --silent --output /dev/null --write-out '%{http_code}' http://localhost:49494/api; }

# The code with which a container ends that is stopped.
stop() {
    "${engine[@]}" stop --time "$SLOW" "$1" >/dev/null
    inspect "$1" '{{.State.ExitCode}}'
}
