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
