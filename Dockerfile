# eml in a container; docs/install.md says how to run it, docs/serve.md how to serve an index.
#   docker build -t eml .
#   docker build -t eml --build-arg BASE=nvidia/cuda:13.0.1-runtime-ubuntu24.04 .
#   docker build -t eml-serve --target serve .
# BASE is a Debian or Ubuntu with Python 3.11 or later, or with one among its packages. A torch that it has is used.
ARG BASE=python:3.12-slim
# An index of wheels of torch for the CPU alone, which saves 5 GB on x86-64; "" takes what pip takes.
ARG TORCH_INDEX=""

FROM ${BASE} AS python

SHELL ["/bin/sh", "-euc"]

RUN if ! python3 -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))'; then \
        apt-get update; \
        apt-get install --yes --no-install-recommends python3 python3-venv; \
        rm -rf /var/lib/apt/lists/*; \
    fi; \
    python3 -m venv --system-site-packages /opt/eml

ENV PATH=/opt/eml/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

# Any user can be given, such as the owner of a mounted folder: the home is everybody's, and torch asks for a name.
RUN useradd --no-create-home --home-dir /home/eml --uid 10001 eml; mkdir --mode 1777 /home/eml /data
ENV HOME=/home/eml USER=eml LOGNAME=eml
WORKDIR /data


# What `serve` needs, installed. The stage after it takes the result alone: no sources, no caches.
FROM python AS serve-packages
ARG TORCH_INDEX
ARG SERVE_EXTRAS=serve,onnx,jpeg
RUN if [ -n "${TORCH_INDEX}" ]; then pip install --index-url "${TORCH_INDEX}" torch torchvision; fi
COPY pyproject.toml setup.py README.md LICENSE /src/
COPY eml /src/eml
RUN pip install "/src[${SERVE_EXTRAS}]"; eml --version


FROM python AS serve
COPY --from=serve-packages /opt/eml /opt/eml
USER 10001
EXPOSE 8000
# An image is embedded each time: a server that cannot is unhealthy.
HEALTHCHECK --interval=30s --timeout=15s --start-period=120s \
    CMD ["python3", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=10)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["eml", "serve"]
CMD ["/data/index", "--host", "0.0.0.0", "--port", "8000", "--keys", "/run/secrets/keys"]


# The last stage is what is built without `--target`: every command.
FROM python AS eml

# Of pyproject.toml; "" for none.
ARG EXTRAS=all
ARG TORCH_INDEX
RUN if [ -n "${TORCH_INDEX}" ]; then pip install --index-url "${TORCH_INDEX}" torch torchvision; fi

COPY pyproject.toml setup.py README.md LICENSE /src/
COPY eml /src/eml
RUN pip install "/src${EXTRAS:+[${EXTRAS}]}"; rm -rf /src; eml --version

USER 10001
HEALTHCHECK --interval=60s --timeout=30s CMD ["eml", "--version"]
ENTRYPOINT ["eml"]
CMD ["--help"]
