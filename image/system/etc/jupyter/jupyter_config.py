import glob
import os
import sys

# Kernels of other languages may know TCP alone, as R's does. They are wherever Jupyter looks.
kernels = {
    kernel
    for data in os.environ.get("JUPYTER_PATH", "").split(":")
    + [
        os.environ.get("JUPYTER_DATA_DIR")
        or os.path.expanduser(os.environ.get("XDG_DATA_HOME") or "~/.local/share")
        + "/jupyter",
        os.environ.get("IPYTHONDIR") or os.path.expanduser("~/.ipython"),
        sys.prefix + "/share/jupyter",
        "/usr/local/share/jupyter",
        "/usr/share/jupyter",
    ]
    if data
    for kernel in glob.glob(data + "/kernels/*/kernel.json")
}
# Unix sockets in the runtime directory, which the user alone can enter. TCP is open to
# everything in the network namespace, which is the host's with --network host. A socket's
# path has 107 bytes at most, and a kernel's name 50 of them. Plain assignments alone: no other
# statement can be judged, and then no default password is set. Servers alone: nbconvert, `jupyter
# execute` and the like put their sockets into the working directory, all under the same name.
c.KernelManager.transport = (
    "ipc"
    if "jupyter_server" in sys.modules
    and len(os.environ.get("JUPYTER_RUNTIME_DIR", "")) <= 107 - 50
    and len(kernels) <= 1
    else "tcp"
)
# The trash would be in the volume, where nobody sees it and nothing empties it. What is
# deleted is gone, directories with what is in them, once the question is answered.
c.FileContentsManager.delete_to_trash = False
c.FileContentsManager.always_delete_dir = True
# Without its extension JupyterLab uses no language server, and each start would name the
# twenty that are not installed.
c.LanguageServerManager.autodetect = os.path.exists(
    os.environ.get("VIRTUAL_ENV", "")
    + "/share/jupyter/labextensions/@jupyter-lsp/jupyterlab-lsp"
)
