# The venv comes first in every shell of a user's. Root's PATH leaves it out: what root
# starts must not be found where users can write.
if [ "$(id -u)" -ne 0 ] && [ "${PATH#"${VIRTUAL_ENV:-$JUPYTER_VENV}/bin:"}" = "$PATH" ]; then
    PATH=${VIRTUAL_ENV:-$JUPYTER_VENV}/bin:$PATH
fi
