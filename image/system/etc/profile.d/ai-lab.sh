# The venv comes first in every shell of the lab's user, of one without a name here, and of one
# that can gain no rights, as below ai-lab-entrypoint and in Apptainer. Others' PATH leaves it out:
# users can write it, and root and sudo's friends run nothing from there.
ai_lab_venv() {
    local venv=${VIRTUAL_ENV:-$JUPYTER_VENV} user name value=
    # Without the service that makes up a name for each uid.
    user=$(/usr/bin/getent -s files passwd "$(/usr/bin/id -u)") || user=jupyter
    [ ! -O / ] || return 0
    while read -r name value && [ "$name" != NoNewPrivs: ]; do :; done </proc/self/status
    # A start enters uid 1234 as jupyter-1234. `[ -G` knows the first group alone.
    case ${user%%:*}:$value in
        jupyter:* | jupyter-[0-9]*:* | *:1) ;;
        *) case " $(/usr/bin/id -G) " in
            *" $(/usr/bin/stat -c %g "$venv" 2>/dev/null) "*) ;;
            *) return 0 ;;
        esac ;;
    esac
    case $PATH in
        "$venv/bin:"*) ;;
        *) PATH=$venv/bin:${PATH:-/usr/local/bin:/usr/bin:/bin} ;;
    esac
}
ai_lab_venv
unset -f ai_lab_venv
