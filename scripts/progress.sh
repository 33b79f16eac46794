# shellcheck shell=bash
# Sourced by the scripts that take long: steps that say how far they are, and the engine.
#
#     steps 3                                      how many there are
#     begin base "base image" COMMAND [ARG]...     starts one beside those that run
#     finish base                                  waits for it, and shows what all of them do
#
# On a terminal this is one live line; elsewhere a line at least every eight seconds. What
# a step prints is in NAME.log in target/log or $AI_LAB_LOGS. $work is a directory of
# theirs until the end.
if ((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] < 404)); then
    echo "bash $BASH_VERSION is too old: 4.4 or newer is needed (macOS: brew install bash)" >&2
    exit 1
fi

readonly LOGS=${AI_LAB_LOGS:-target/log}
work='' steps_more=0 step_total=0 step_count=0 shown=0
declare -A step_pid=() step_title=() step_since=()
if [ -t 2 ]; then live=1; else live=''; fi

say() {
    [ -z "$live" ] || printf '\r\e[K' >&2
    printf '%s\n' "$*" >&2
    shown=$SECONDS
}

die() { say "${0##*/}: $*"; exit 1; }

limited() { # SECONDS COMMAND [ARG]...
    if command -v timeout >/dev/null; then timeout "$@"; else shift; "$@"; fi
}

# $steps_more follow in the script that sourced this one.
steps() {
    step_total=$(($1 + steps_more)) step_count=0
    mkdir -p "$LOGS"
    work=$(mktemp -d)
    trap end_steps EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

# No step outlives the script.
end_steps() {
    local pid
    for pid in "${step_pid[@]}"; do kill -- "-$pid" 2>/dev/null || true; done
    step_pid=()
    # Elsewhere than on Linux, rm has no long options.
    rm -rf --one-file-system "$work" 2>/dev/null || find "$work" -xdev -delete
}

# A step that takes no time.
told() {
    step_count=$((step_count + 1))
    say "[$step_count/$step_total] $*"
}

begin() { # NAME TITLE COMMAND [ARG]...
    local name=$1
    step_count=$((step_count + 1))
    step_title[$name]="[$step_count/$step_total] $2" step_since[$name]=$SECONDS
    : >"$LOGS/$name.log"
    # In a process group of its own, which can be ended as a whole.
    set -m
    (trap - EXIT; "${@:3}") </dev/null >>"$LOGS/$name.log" 2>&1 &
    set +m
    step_pid[$name]=$!
    if [ -n "$live" ]; then show; else say "${step_title[$name]} ..."; fi
}

# The last line of a log that says something, without colours.
last_line() {
    tail -c 2000 "$1" | tr '\r' '\n' |
        sed $'s/\e\\[[0-9;]*[A-Za-z]//g; s/^ *//; /^$/d; /^--->/d; /^Removing intermediate/d' |
        tail -n 1 | cut -c 1-90
}

show() {
    local name line text='' width
    width=$(tput cols 2>/dev/null || echo 80)
    width=$((width / ${#step_pid[@]} - 2))
    for name in "${!step_pid[@]}"; do
        line="${step_title[$name]}, $((SECONDS - step_since[$name])) s: $(last_line "$LOGS/$name.log")"
        printf -v text '%s%-*.*s  \n' "$text" "$width" "$width" "$line"
        [ -n "$live" ] || say "$line"
    done
    # In the order of their numbers.
    [ -z "$live" ] || printf '\r\e[K%s' "$(sort <<<"${text%$'\n'}" | tr -d '\n')" >&2
    shown=$SECONDS
}

finish() { # NAME
    local name every=${live:-8}
    while [ -n "${step_pid[$1]:-}" ]; do
        for name in "${!step_pid[@]}"; do
            kill -0 "${step_pid[$name]}" 2>/dev/null || ended "$name"
        done
        if [ ${#step_pid[@]} -gt 0 ] && [ $((SECONDS - shown)) -ge "$every" ]; then show; fi
        sleep 0.1
    done
}

ended() { # NAME
    local name=$1 log=$LOGS/$1.log code=0 seconds
    wait "${step_pid[$name]}" || code=$?
    unset "step_pid[$name]"
    seconds=$((SECONDS - step_since[$name]))
    if [ "$code" = 0 ]; then say "${step_title[$name]}: done, $seconds s"; return; fi
    say "${step_title[$name]}: failed after $seconds s. Its last lines, all of them are in $log:"
    tail -n 20 "$log" | sed 's/^/    /' >&2
    say "$(remedy "$log")"
    exit 1
}

# What helps against a failure with this log.
remedy() {
    local again="Then run it again: what is done is kept."
    if grep -qi 'no space left on device' "$1"; then
        echo "The disk is full: \`docker system df\` shows what fills it. $again"
    elif grep -qE 'linker .cc. not found' "$1"; then
        echo "A C compiler is missing (Debian: apt install build-essential). $again"
    elif grep -qiE 'could ?n.t resolve|name resolution|lookup address|dns error|unreachable|timed out|connection refused' "$1"; then
        echo "A server was not reached: check the network, and http_proxy behind a proxy. $again"
    else
        echo "Run it again: what is done is kept. If it fails in the same place, the log says why."
    fi
}

# Sets `docker` to what talks to an engine. Otherwise `no_engine` says why there is none, and
# `denied` is set if it is a matter of rights.
docker=()
readonly PROXIES=http_proxy,https_proxy,no_proxy,HTTP_PROXY,HTTPS_PROXY,NO_PROXY
readonly SUDO=(sudo -n "--preserve-env=JUPYTER_PASSWORD,BUILDAH_FORMAT,$PROXIES")
# shellcheck disable=SC2034
find_engine() {
    local word said
    # Podman's own format has no health checks.
    export BUILDAH_FORMAT=docker
    [ ${#docker[@]} -eq 0 ] || return 0
    no_engine="there is no Docker and no Podman" denied=''
    for word in docker podman; do
        command -v "$word" >/dev/null || continue
        if said=$(limited 20 "$word" version 2>&1 >/dev/null); then docker=("$word"); return; fi
        case $said in
            *'permission denied'*)
                if limited 20 "${SUDO[@]}" "$word" version >/dev/null 2>&1; then
                    say "$word answers root alone: using sudo"
                    docker=("${SUDO[@]}" "$word")
                    return
                fi
                denied=1 no_engine="$word may not be used by $(id -un)" ;;
            *) no_engine="no Docker engine answers (${said##*$'\n'})" ;;
        esac
    done
    return 1
}
