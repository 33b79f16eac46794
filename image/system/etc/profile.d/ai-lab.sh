# The venv comes first in every shell of the lab's user, and of one without a name here. Others'
# PATH leaves it out: users can write it, and root and sudo's friends run nothing from there.
ai_lab_venv() {
    local venv=${VIRTUAL_ENV:-$JUPYTER_VENV} user
    # Without the service that makes up a name for each uid.
    user=$(/usr/bin/getent -s files passwd "$(/usr/bin/id -u)") || user=jupyter
    [ ! -O / ] || return 0
    # `[ -G` knows the first group alone.
    [ "${user%%:*}" = jupyter ] || case " $(/usr/bin/id -G) " in
        *" $(/usr/bin/stat -c %g "$venv" 2>/dev/null) "*) ;;
        *) return 0 ;;
    esac
    case $PATH in
        "$venv/bin:"*) ;;
        *) PATH=$venv/bin:${PATH:-/usr/local/bin:/usr/bin:/bin} ;;
    esac
}
ai_lab_venv
unset -f ai_lab_venv
