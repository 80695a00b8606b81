# mam for a CPU:  docker build --tag mam .
# with CUDA:      docker build --tag mam:cuda --build-arg BASE=nvidia/cuda:12.6.3-base-ubuntu24.04 \
#                   --build-arg TORCH_INDEX=https://pypi.org/simple .
# Run it where your data is: docker run --rm --volume "$PWD:/work" --volume mam-cache:/cache mam run lam=0.1
ARG BASE=debian:trixie-slim
FROM ${BASE}

# The index of torch: its own for a CPU; PyPI's build of torch brings CUDA with it. .ci/constraints.txt fixes all other versions.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# The build sees no git, so that a release says its version: --build-arg VERSION=0.1.0
ARG VERSION=0.1.0.dev0
ARG UID=1000

ENV DEBIAN_FRONTEND=noninteractive \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PYTHONUNBUFFERED=1

SHELL ["/bin/bash", "-o", "pipefail", "-c"]

# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3 python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv /opt/mam

ENV PATH=/opt/mam/bin:$PATH

COPY .ci/constraints.txt /src/.ci/constraints.txt
RUN version="$(sed -n 's/^torch==//p' /src/.ci/constraints.txt)" \
    && python -m pip install --index-url "$TORCH_INDEX" --extra-index-url https://pypi.org/simple "torch==$version"

COPY pyproject.toml LICENSE README.md /src/
COPY conf /src/conf
COPY demo /src/demo
COPY mam /src/mam
RUN SETUPTOOLS_SCM_PRETEND_VERSION="$VERSION" python -m pip install --constraint /src/.ci/constraints.txt \
    "/src[slurm,tracking,tune]" /src/demo

# The base images may have a user 1000 already.
RUN (getent passwd "$UID" || useradd --uid "$UID" --create-home mam) \
    && install --directory --owner "$UID" --mode 0777 /cache /work
ENV HF_HOME=/cache/huggingface \
    MAM_CACHE=/cache/mam \
    HOME=/cache
USER ${UID}
VOLUME ["/cache"]
WORKDIR /work

ENTRYPOINT ["mam"]
CMD ["--help"]
