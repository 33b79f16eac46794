# The venv comes first in every shell of the lab's user, of one without a name here, and of one
# that can gain no rights, as below ai-lab-entrypoint and in Apptainer. Others' PATH leaves it out:
# users can write it, and root and sudo's friends run nothing from there.
ai_lab_venv() {
    local venv=${VIRTUAL_ENV:-$JUPYTER_VENV}
    JUPYTER_VENV=$venv /bin/sh /usr/local/lib/ai-lab/in-venv || return 0
    case $PATH in
        "$venv/bin:"*) ;;
        *) PATH=$venv/bin:${PATH:-/usr/local/bin:/usr/bin:/bin} ;;
    esac
}
ai_lab_venv
unset -f ai_lab_venv
