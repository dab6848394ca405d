# eml in a container; docs/install.md says how to run it.
#   docker build -t eml .
#   docker build -t eml --build-arg BASE=nvidia/cuda:13.0.1-runtime-ubuntu24.04 .
# BASE is a Debian or Ubuntu with Python 3.11 or later, or with one among its packages. A torch that it has is used.
ARG BASE=python:3.12-slim
FROM ${BASE}

# Of pyproject.toml; "" for none.
ARG EXTRAS=all
# An index of wheels of torch for the CPU alone, which saves 5 GB on x86-64; "" takes what pip takes.
ARG TORCH_INDEX=""

SHELL ["/bin/sh", "-euc"]

RUN if ! python3 -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))'; then \
        apt-get update; \
        apt-get install --yes --no-install-recommends python3 python3-venv; \
        rm -rf /var/lib/apt/lists/*; \
    fi; \
    python3 -m venv --system-site-packages /opt/eml

ENV PATH=/opt/eml/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

RUN if [ -n "${TORCH_INDEX}" ]; then pip install --index-url "${TORCH_INDEX}" torch torchvision; fi

COPY pyproject.toml setup.py README.md LICENSE /src/
COPY eml /src/eml
RUN pip install "/src${EXTRAS:+[${EXTRAS}]}"; rm -rf /src; eml --version

# Any user can be given, such as the owner of a mounted folder: the home is everybody's, and torch asks for a name.
RUN useradd --no-create-home --home-dir /home/eml --uid 10001 eml; mkdir --mode 1777 /home/eml /data
ENV HOME=/home/eml USER=eml LOGNAME=eml
USER 10001
WORKDIR /data

HEALTHCHECK --interval=60s --timeout=30s CMD ["eml", "--version"]
ENTRYPOINT ["eml"]
CMD ["--help"]
