# What the steps that need torch run in, see components/Dockerfile.
#   docker build --build-arg GIT_COMMIT="$(git rev-parse HEAD)" -t ml-deployment-blueprints/finetuning:0.1.0 -f components/finetuning.Dockerfile .
ARG PYTHON=python:3.11-slim-bookworm

FROM ${PYTHON} AS environment
# As in the Makefile. A wheel without CUDA saves gigabytes: offer one with PIP_EXTRA_INDEX_URL or PIP_FIND_LINKS.
ARG TORCH_VERSION=2.13.0
COPY locks/finetuning.txt /locks/finetuning.txt
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --require-hashes -r /locks/finetuning.txt \
    && /venv/bin/pip install --no-cache-dir --disable-pip-version-check torch==${TORCH_VERSION}

FROM ${PYTHON}
# OpenMP, which torch's wheel for processors may not bring.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=environment /venv /venv
WORKDIR /app
COPY blueprints/ blueprints/
ENV PATH=/venv/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    OMP_WAIT_POLICY=passive \
    BLUEPRINTS_HOME=/tmp/blueprints \
    HOME=/tmp \
    DO_NOT_TRACK=1
# The lineage of a model names the commit, and an image has no repository to ask.
ARG GIT_COMMIT
ENV GIT_COMMIT=$GIT_COMMIT
USER 10001:10001
