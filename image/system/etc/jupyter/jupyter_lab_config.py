# Where people arrive. Whatever else configures it wins over this file; under a hub
# JUPYTERHUB_DEFAULT_URL says the same.
c.LabApp.default_url = "/lab/tree/start.ipynb"
