import os

# Unix sockets in the runtime directory, which the user alone can enter. TCP is open to
# everything in the network namespace, which is the host's with --network host.
c.KernelManager.transport = "ipc"
# Without its extension JupyterLab uses no language server, and each start would name the
# twenty that are not installed.
c.LanguageServerManager.autodetect = os.path.exists(
    os.environ.get("VIRTUAL_ENV", "")
    + "/share/jupyter/labextensions/@jupyter-lsp/jupyterlab-lsp"
)
