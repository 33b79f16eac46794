# The AI Lab image.
#
#   docker build .                    the AI Lab image
#   docker build --target compat .    the same for old JupyterHub configurations
#
# scripts/image does the same, and also where the base images cannot be pulled. Works
# with BuildKit and with the classic builder: no mounts, no heredocs, no --chmod.
# Layers come in the order in which they change: a new notebook or entrypoint costs one
# small layer, the last.
# The stages build and packages need nothing of each other: scripts/image builds them side
# by side, with every builder.

# The entrypoint, static: it runs on other images, too. The dependencies are a layer of
# their own, built for an empty crate. Few steps: with some storage drivers each one walks
# through the whole image.
FROM rust:1.95-slim-trixie AS build
# The same sources give the same bytes wherever they are built (scripts/release).
COPY .cargo/* Cargo.toml Cargo.lock /build/
COPY benches/Cargo.toml /build/benches/
RUN cd /build \
    && install -D -t .cargo config.toml program.ld \
    && mkdir src \
    && echo 'fn main() {}' | tee src/main.rs >benches/inner_loops.rs \
    && touch src/lib.rs \
    && cargo build --release --locked
# What --version says besides the version.
ARG AI_LAB_COMMIT
COPY src /build/src
# The files copied may be older than the empty crate that was built. What a user may not
# read, the kernel does not let him look into: a health check has the container's
# environment, and in a container without root it is the user's from its first moment.
RUN cd /build \
    && touch src/main.rs src/lib.rs \
    && cargo program \
    && install -D -m 711 -t /image/usr/local/bin target/*/release/ai-lab-entrypoint
# A name for each uid that the container is started as.
COPY image/names.c /build/
RUN lib=/image/usr/lib/$(cc -print-multiarch) \
    && mkdir -p "$lib" \
    && cc -shared -fPIC -O2 -s -Wall -Wextra -Werror -Wl,-soname,libnss_ai_lab.so.2 \
        -o "$lib/libnss_ai_lab.so.2" /build/names.c

# All that changes often, as it lies in the image. The notebooks are sealed: a start need not
# read what has its digest written down. Whatever umask they were checked out with, root
# alone can write them, or their seal would not count. In a stage of their own, the change of
# modes does not make a second copy; in a small one, a step takes little time.
FROM debian:trixie-slim AS files
COPY --from=build /image /image
COPY LICENSE THIRD-PARTY-LICENSES /image/usr/local/share/doc/ai-lab-entrypoint/
COPY notebook-defaults /image/opt/ai-lab/notebook-defaults
RUN chmod -R u=rwX,go=rX /image/opt /image/usr/lib /image/usr/local/share \
    && mkdir /image/etc \
    && sed -E 's/^(passwd|group):.*/& ai_lab/' /etc/nsswitch.conf >/image/etc/nsswitch.conf \
    && /image/usr/local/bin/ai-lab-entrypoint notebooks seal /image/opt/ai-lab/notebook-defaults \
    && ! find /image -group 0 -perm -020 ! -type l | grep .

# Everything that takes long and rarely changes, the large layer last.
FROM debian:trixie-slim AS packages
# Kept equal to the version in Cargo.toml.
LABEL org.opencontainers.image.title="AI Lab" \
      org.opencontainers.image.description="JupyterLab for data science, prepared and supervised by ai-lab-entrypoint" \
      org.opencontainers.image.version=0.1.0 \
      org.opencontainers.image.licenses=MIT
# The version is that of the notebooks. Derived images use the directories, which are those of
# entrypoint.toml. The page is where people arrive where the hub names none;
# jupyter_lab_config.py has it for JupyterLab. There is no PATH, which would be root's, too:
# what root starts must not be found where the user can write.
ENV AI_LAB_VERSION=0.1.0 \
    LANG=C.UTF-8 \
    JUPYTER_VENV=/opt/ai-lab/jupyterenv \
    NOTEBOOK_DEFAULTS=/opt/ai-lab/notebook-defaults \
    NOTEBOOKS=/home/jupyter/notebooks \
    JUPYTERHUB_DEFAULT_URL=/lab/tree/start.ipynb
EXPOSE 49494
# What the engine starts as root (HEALTHCHECK, `docker exec`) starts in the working
# directory: no user may write there. Servers work in the notebooks directory all the same.
WORKDIR /
# By their whole path: a derived image's PATH may begin where a user can write. Older engines
# know no start-interval: during the start period 5 s is short enough.
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s CMD ["/usr/local/bin/ai-lab-entrypoint", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/ai-lab-entrypoint"]
# Not empty, because DockerSpawner needs one; under a hub the entrypoint turns it into
# jupyterhub-singleuser.
CMD ["jupyter-lab"]
# Only Docker's engine brings the group docker. /home/jupyter can be written by the owner
# of an adopted volume, who gets group jupyter. The venv is root's, so that nothing the user
# runs owns it, but what is in it is writable for group jupyter and stays in that group
# (setgid), so that pip works for the user and for that owner alike. It and the notebooks are
# outside of HOME, where a volume would hide them or keep them from being updated; the links
# are for those who know their old places. Debian's prompt names what /etc/debian_chroot names.
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        bash-completion ca-certificates curl docker-cli git jq less nano openssh-client procps \
        python3 python3-venv rsync tree tzdata unzip vim-tiny zip \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log \
    && groupadd --system docker \
    && useradd --uid 1000 --user-group --shell /bin/bash --create-home jupyter \
    && chmod 1775 /home/jupyter \
    && install -d -o jupyter -g jupyter /home/jupyter/notebooks \
    && install -d -m 2775 -g jupyter /opt/ai-lab/jupyterenv \
    && ln -s /opt/ai-lab/jupyterenv /opt/ai-lab/notebook-defaults /home/jupyter/ \
    && echo ai-lab >/etc/debian_chroot \
    && printf '. /etc/profile.d/%s.sh\n' ai-lab bash_completion >>/etc/bash.bashrc
VOLUME /home/jupyter/notebooks
COPY image/requirements.txt image/constraints.txt image/not-rescued.txt image/ai_lab_start.py \
    image/system /usr/local/share/ai-lab/
# The files of the image, with the modes that they need whatever they were checked out with.
# Then the packages, without what nothing here runs: their own test suites, the hub's own pages,
# source maps, the C that is compiled already, and debug symbols. They are installed in the stage
# that stays: a copy of so many files between stages takes as long again, and fuse-overlayfs
# loses one of them now and then. Group and modes are right when the files are made: changing
# them later takes ten seconds. Bytecode is written for what stays. uv and its cache are gone
# before the layer ends.
# Group root, which a socket of gid 0 gives the user, can write nothing that others cannot.
# The servers' programs alone are told what they need not import at once (ai_lab_start.py).
# A lab that does not start is rescued from a second venv, the same files under other names: its
# directories take five megabytes. pip changes no file, it makes another one in its place.
RUN cd /usr/local/share/ai-lab \
    && cp -R --no-preserve=mode etc usr / \
    && rm -r etc usr \
    && chmod 755 . /usr/local/lib/ai-lab/in-venv \
    && chmod 644 *.txt \
    && for name in ipython jupyter jupyter-lab pip pip3 python python3; do \
        ln -s ../lib/ai-lab/in-venv "/usr/local/bin/$name" || exit 1; done \
    && apt-get update \
    && apt-get install -y --no-install-recommends binutils \
    && python3 -m venv /tmp/uv \
    && /tmp/uv/bin/pip install --no-cache-dir --disable-pip-version-check uv==0.13.9 \
    && cd /opt/ai-lab/jupyterenv \
    && umask 002 \
    && export UV_CACHE_DIR=/tmp/uv/cache UV_SYSTEM_CERTS=true VIRTUAL_ENV=$PWD \
    && as="setpriv --regid jupyter --keep-groups" \
    && uv="$as /tmp/uv/bin/uv" \
    && $uv venv --quiet --no-config --seed --python /usr/bin/python3 . \
    && $uv pip install \
        --requirement /usr/local/share/ai-lab/requirements.txt \
        --constraint /usr/local/share/ai-lab/constraints.txt \
    && $uv pip check \
    && $as install -m 664 -t lib/python3*/site-packages /usr/local/share/ai-lab/ai_lab_start.py \
    && $as sed -i 's/^from .* import main$/import ai_lab_start\n\nwith ai_lab_start.quickly():\n    &/' \
        bin/jupyter-lab bin/jupyter-labhub bin/jupyterhub-singleuser \
    && rm .lock /usr/local/share/ai-lab/ai_lab_start.py \
    && rm -rf lib/python3*/site-packages/jupyterlab/galata share/jupyterhub/static \
    && find . -type d -name tests -prune -exec rm -r {} + \
    && find . '(' -name '*.js.map' -o -name '*.c' -not -path '*/f2py/*' ')' -delete \
    && find . -name '*.libs' -prune -o -name '*.so*' -type f -exec strip --strip-debug {} + \
    && $as bin/python -W ignore -m compileall -q -j 0 "$PWD/lib" \
    && find . -type d -exec chmod g+s {} + \
    && [ -z "$(find . ! -group jupyter -o ! -type l ! -perm -g=w)" ] \
    && umask 022 \
    && rsync -a --link-dest="$PWD" --exclude-from=/usr/local/share/ai-lab/not-rescued.txt ./ ../rescue \
    && find ../rescue -type d -exec chown root:root {} + -exec chmod 755 {} + \
    && apt-get purge -y --auto-remove binutils \
    && rm -rf /tmp/uv /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log \
    && ! find / -xdev -group 0 -perm -020 ! -perm -002 ! -type l | grep .

FROM packages AS ai-lab
COPY --from=files /image /

# What old hub configurations expect: user ubuntu with sudo, and the script
# `sudo -E python3 /home/jupyter/entrypoint.py …`.
FROM ai-lab AS compat
COPY image/compat-sudoers /etc/sudoers.d/ai-lab
COPY image/compat-entrypoint.py /home/jupyter/entrypoint.py
# Sticky and root's: the user works in the directory but cannot replace the script. What watches
# the log knows the predecessor's lines ([log] is the last section of the settings).
RUN apt-get update \
    && apt-get install -y --no-install-recommends sudo \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log \
    && useradd --uid 1001 --user-group --shell /bin/bash --create-home ubuntu \
    && chmod 440 /etc/sudoers.d/ai-lab \
    && chmod 644 /home/jupyter/entrypoint.py \
    && chown root:jupyter /home/jupyter \
    && chmod 1775 /home/jupyter \
    && echo 'format = "classic"' >>/etc/ai-lab/entrypoint.toml \
    && ! find / -xdev -group 0 -perm -020 ! -perm -002 ! -type l | grep .
# Their sudo line is the container's whole command: behind another entrypoint it would
# run after root was given up.
ENTRYPOINT []
CMD ["/usr/local/bin/ai-lab-entrypoint", "jupyter-lab"]

# The last stage is what a build without --target gives.
FROM ai-lab
