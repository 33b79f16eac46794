"""The old path of the entrypoint, for JupyterHub configurations that still name it.

Runs as root before anything is prepared, so it imports nothing that a user could have
written, and steps aside at once.
"""

import sys

# Users can write here, where Python looks first: an error would import more, such as traceback.
sys.path.clear()

import os

os.execv("/usr/local/bin/ai-lab-entrypoint", ["ai-lab-entrypoint", *sys.argv[1:]])
