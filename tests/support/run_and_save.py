"""In the container: runs notebooks of the server and saves them, as JupyterLab does: the cells
run in a kernel, and the server writes what the browser sends it.

python run_and_save.py PORT TOKEN [EDITED:]NAME…; EDITED: adds a line to the first code cell.
"""

import json
import sys
import urllib.request

import nbclient
import nbformat

port, token, *names = sys.argv[1:]


def contents(method, name, model=None):
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/contents/{name}",
        method=method,
        data=model and json.dumps(model).encode(),
        headers={"Authorization": f"token {token}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


for name in names:
    edited = name.startswith("EDITED:")
    name = name.removeprefix("EDITED:")
    notebook = nbformat.from_dict(contents("GET", name)["content"])
    if edited:
        first = next(cell for cell in notebook.cells if cell.cell_type == "code")
        first.source += "\nmine = 1"
    nbclient.NotebookClient(notebook, allow_errors=True, timeout=120).execute()
    notebook.metadata.signature = "trusted"
    contents("PUT", name, {"type": "notebook", "format": "json", "content": notebook})
    runs = sum(bool(cell.get("outputs")) for cell in notebook.cells)
    print(f"{name}: {runs} with outputs")
