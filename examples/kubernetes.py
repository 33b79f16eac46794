"""The spawner settings of a JupyterHub on Kubernetes: AI Lab as a pod that never runs as root.

With the Helm chart "Zero to JupyterHub", use it as one of the files of `hub.extraFiles` or as
the text of `hub.extraConfig`. Without the chart, add it to jupyterhub_config.py.
"""

c = get_config()  # noqa: F821

# Set no `cmd`: KubeSpawner keeps the image's entrypoint, and the image detects that a hub
# started it.
c.JupyterHub.spawner_class = "kubespawner.KubeSpawner"
c.KubeSpawner.image = "ai-lab:dev"

# User and group `jupyter` of the image. fsGroup gives the volume to that group, because no
# process of the pod may change an owner.
c.KubeSpawner.uid = 1000
c.KubeSpawner.gid = 1000
c.KubeSpawner.fs_gid = 1000
c.KubeSpawner.allow_privilege_escalation = False
c.KubeSpawner.container_security_context = {
    "runAsNonRoot": True,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}

# The notebooks stay. All other written files end with the pod.
c.KubeSpawner.storage_pvc_ensure = True
c.KubeSpawner.storage_capacity = "10Gi"
c.KubeSpawner.pvc_name_template = "ai-lab-{user_server}"
c.KubeSpawner.volumes = [
    {"name": "notebooks", "persistentVolumeClaim": {"claimName": "ai-lab-{user_server}"}},
    {"name": "tmp", "emptyDir": {}},
]
c.KubeSpawner.volume_mounts = [
    {"name": "notebooks", "mountPath": "/home/jupyter/notebooks"},
    {"name": "tmp", "mountPath": "/tmp"},
]

# Kubernetes ignores the image's HEALTHCHECK. During an in-place restart the server is not
# ready, but alive: the pod ends only if a failure lasts longer than any start.
probe = {"exec": {"command": ["/usr/local/bin/ai-lab-entrypoint", "healthcheck"]}, "timeoutSeconds": 5}
c.KubeSpawner.extra_container_config = {
    "startupProbe": {**probe, "periodSeconds": 2, "failureThreshold": 60},
    "readinessProbe": {**probe, "periodSeconds": 5},
    "livenessProbe": {**probe, "periodSeconds": 15, "failureThreshold": 8},
}

# KubeSpawner would kill after 1 s. Now kernels get the 7 s of --stop-timeout.
c.KubeSpawner.delete_grace_period = 10
c.KubeSpawner.extra_pod_config = {"terminationGracePeriodSeconds": 10}
