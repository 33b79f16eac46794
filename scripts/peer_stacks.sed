# What this image has for the names in the tests of the Jupyter Docker Stacks.
s/jovyan/jupyter/g
s/\b8888\b/49494/g
s#/opt/conda#/opt/ai-lab/jupyterenv#g
s#/(work|\.jupyter)'#/notebooks'#
s#\.bashrc#notebooks#g
s#/usr/local/bin/before-notebook\.d/#/etc/ai-lab/hooks/root/#g
# A user without NB_GID has the group of the image's user; a gid without a name gets one.
s/gid=100\(users\) groups=100\(users\)/gid=1000(jupyter) groups=1000(jupyter)/
s/\{nb_user\} users"/{nb_user} jupyter"/
s/=110\(jupyter\)/=110(jupyter-110)/
s/,100\(users\)" in logs/,1000(jupyter)" in logs/
s/group_add=\["users"\]/group_add=["jupyter"]/
s/ users (2755|644)"/ jupyter \1"/
# What the log says.
s/f"Executing: \{expected_command\}"/"ready in "/
s/"Entered start.sh" in stderr/"prepared in " in stderr/
s/"Running as root"/"The server runs as root"/
s/f"Running as \{nb_user\}:"/f"Switched uid\/gid to {nb_user}\/"/
s/username: jupyter       -> \{nb_user\}/The server's user is {nb_user} /
s/f"Sourcing shell script: .*"/"99-test-hook.sh: "/
s/"INFO\["/"[I "/
# PID 1 has the server's name in its arguments, too.
s/head -n 1/tail -n 1/
