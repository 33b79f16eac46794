# shellcheck shell=bash
# The promises about the notebooks, on a file system of the machine's. A check sources this after
# lib.sh, mounts it, and calls the functions below. `volume` are the options of `docker run` that
# mount a directory of it on the notebooks.
readonly BOOKS=/home/jupyter/notebooks

# The defaults of two images; `same.md` and one in a directory do not change.
offer() {
    local version
    for version in 1.0.0 2.0.0; do
        mkdir -p "defaults-$version/deep"
        echo "$version" | tee "defaults-$version"/{a,mine}.md >"defaults-$version/deep/b.md"
        echo same >"defaults-$version/same.md"
    done
}

# Runs a COMMAND after a start with the defaults of VERSION, as a person who looks at the volume.
start() { # VERSION COMMAND [ARG]...
    docker run --rm --network none --env AI_LAB_VERSION="$1" "${volume[@]}" \
        --volume "$PWD/defaults-$1:/opt/ai-lab/notebook-defaults:ro" "${options[@]}" ai-lab:test "${@:2}" 2>&1
}
options=()

listed() { find "$1" -path "$1/.ai-lab" -prune -o -type f -printf '%P %i %T@ %m %U\n' | sort; }

# Install, start again, edit, update, and what the verbs show and restore.
promises() { # DIRECTORY OWNER
    local log before verbs
    offer
    log=$(start 1.0.0 true)
    echo "$log"
    has "the first start" "notebooks: 4 installed" "$log"
    before=$(listed "$1")
    has "the owners" "same.md" "$before"
    equal "the owners" "$2" "$(find "$1" -mindepth 1 -printf '%U\n' | sort -u | xargs)"
    log=$(start 1.0.0 sh -c "echo my own >$BOOKS/mine.md")
    has "the second start" "notebooks: 0 installed, 0 updated, 0 kept (changed by you), 4 current" "$log"
    equal "what is there after it" "$(grep -v mine.md <<<"$before")" "$(listed "$1" | grep -v mine.md)"
    log=$(start 2.0.0 sh -ec '
        cd "$(dirname "$0")"
        grep -rn "" notebooks/a.md notebooks/deep/b.md notebooks/mine.md
        ai-lab-entrypoint notebooks status
        ai-lab-entrypoint notebooks diff mine.md || true
        ai-lab-entrypoint notebooks restore mine.md' "$BOOKS")
    echo "$log"
    has "an update" "notebooks: 0 installed, 2 updated, 1 kept (changed by you), 1 current" "$log"
    has "its defaults" "notebooks/a.md:1:2.0.0" "$log"
    has "its defaults" "notebooks/deep/b.md:1:2.0.0" "$log"
    has "what was edited" "notebooks/mine.md:1:my own" "$log"
    has "the verbs" "changed by you; \`notebooks diff\` shows the newer version" "$log"
    has "the verbs" "+my own" "$log"
    has "the verbs" "mine.md: restored; yours is mine.yours.md" "$log"
    equal "what was restored" 2.0.0 "$(cat "$1/mine.md")"
    equal "what was edited" "my own" "$(cat "$1/mine.yours.md")"
    nothing_is_left "$1"
}

nothing_is_left() { # DIRECTORY
    equal "what is left" "" "$(find "$1" -name '.ai-lab.*' -o -path '*/.ai-lab/moved*' -o -name '.nfs*' -o -name '.smb*')"
}

# JupyterLab on it; a person saves a notebook that they have run.
serves() {
    local ran
    docker run --detach --network none --name lab --no-healthcheck "${volume[@]}" "${options[@]}" ai-lab:test
    until_log lab "] ready in "
    log lab
    ran=$(docker exec -i --user jupyter lab /opt/ai-lab/jupyterenv/bin/python3 - <<'END'
import nbclient, nbformat
notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("print(2 + 2)")])
nbclient.NotebookClient(notebook, timeout=600, startup_timeout=600).execute()
nbformat.write(notebook, "/home/jupyter/notebooks/run.ipynb")
print(notebook.cells[0].outputs[0].text)
END
)
    equal "what a notebook says" 4 "$ran"
    equal "the code of a stop" 0 "$(stop lab)"
    docker rm lab
}

# Updates that are killed: before the first and the last call of each kind with which a start writes,
# flushes, renames and removes. The next start completes them, and nothing of a person's is lost.
survives_kills() { # DIRECTORY
    local version moments moment call number log ran
    ran=$(notebook 1.0.0 '"4"')
    offer
    for version in 1.0.0 2.0.0; do notebook "$version" "" >"defaults-$version/run.ipynb"; done
    docker create --name program ai-lab:test
    docker cp program:/usr/local/bin/ai-lab-entrypoint /usr/local/bin/ai-lab-entrypoint
    docker rm program
    rm -rf /srv/home
    install -d -o 1000 -g 1000 /srv/home
    as_user mkdir "$1/kept"
    log=$(bring_in 1.0.0 "$1/kept")
    has "the first start" "notebooks: 5 installed" "$log"
    as_user sh -ec 'echo my own >"$1/mine.md"; echo notes >"$1/notes.txt"; echo "$2" >"$1/run.ipynb"' - "$1/kept" "$ran"

    again "$1"
    bring_in 2.0.0 "$1/books" strace -qq -o trace -e "$CALLS,mkdirat,prlimit64"
    is_updated "$1/books"
    moments=$(awk -F'(' '
        /RLIMIT_CORE/ { exit }
        { number[$1]++ }
        $1 == "mkdirat" { begun = 1 }
        !begun || $1 == "mkdirat" || /^prlimit64|^write\(2,/ { next }
        !($1 in last) { print $1, number[$1] }
        { last[$1] = number[$1] }
        END { for (call in last) print call, last[call] }' trace | sort -u)
    # Without any, nothing of this would be tested.
    has "the moments" write "$moments"
    has "the moments" rename "$moments"
    while read -r call number; do
        moment="killed before $call number $number"
        echo "$moment"
        again "$1"
        ! log=$(bring_in 2.0.0 "$1/books" strace -qq -o trace -e "$CALLS" \
            -e "inject=$call:signal=KILL:when=$number") || fail "not $moment: $log"
        tail -n 1 trace
        is_old_or_new "$1/books"
        log=$(bring_in 2.0.0 "$1/books")
        is_updated "$1/books"
    done <<<"$moments"
    as_user rm -r "$1/kept" "$1/books"
    rm -r defaults-*
}
readonly CALLS=trace=write,fsync,renameat,renameat2,linkat,unlinkat
notebook() { # CODE OUTPUT
    printf '{"nbformat": 4, "cells": [{"cell_type": "code", "source": "%s", "outputs": [%s]}]}\n' "$@"
}
as_user() { setpriv --clear-groups --reuid 1000 --regid 1000 "$@"; }

# The program outside of a container, as a user and after other WORDS.
bring_in() { # VERSION DIRECTORY [WORD]...
    "${@:3}" setpriv --clear-groups --reuid 1000 --regid 1000 env -i HOME=/srv/home AI_LAB_VERSION="$1" \
        /usr/local/bin/ai-lab-entrypoint --user 1000 --group 1000 --home /srv/home --state-dir /srv/home/state \
        --notebook-defaults "$PWD/defaults-$1" --notebooks "$2" -- true 2>&1
}

again() { # DIRECTORY
    as_user rm -rf "$1/books"
    as_user cp -R "$1/kept" "$1/books"
}

# Whole files of one of the images, here or in .ai-lab/moved, and what a person wrote and ran.
is_old_or_new() { # DIRECTORY
    local path found
    for path in a.md deep/b.md; do
        found=$(find "$1" -path "*/$path" -exec cat {} + | sort -u | xargs)
        case $found in 1.0.0 | 2.0.0 | "1.0.0 2.0.0") ;; *) fail "$path is \"$found\"" ;; esac
    done
    is_theirs "$1"
}

is_theirs() { # DIRECTORY
    equal "what was edited" "my own" "$(cat "$1/mine.md")"
    equal "what was made" notes "$(cat "$1/notes.txt")"
    has "what was run" "$(notebook 1.0.0 '"4"')" "$(find "$1" -name run.ipynb -exec cat {} +)"
}

is_updated() { # DIRECTORY
    equal "the new ones" "2.0.0 2.0.0" "$(cat "$1/a.md" "$1/deep/b.md" | xargs)"
    equal "the new notebook" "$(notebook 2.0.0 "")" "$(cat "$1/run.ipynb")"
    is_theirs "$1"
    nothing_is_left "$1"
}
