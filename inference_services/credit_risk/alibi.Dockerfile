# The anchor explainer of the credit-risk blueprint: Alibi, its licence and its pins, apart from everything else.
#   docker build -t ml-deployment-blueprints/credit-risk-alibi:0.1.0 -f inference_services/credit_risk/alibi.Dockerfile .
# Alibi's licence (BSL 1.1) forbids production use without a commercial one: docs/decisions/0004.
ARG PYTHON=python:3.11-slim-bookworm

FROM ${PYTHON} AS environment
COPY locks/alibi.txt /locks/alibi.txt
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --require-hashes -r /locks/alibi.txt \
    && /venv/bin/pip uninstall --yes pip

FROM ${PYTHON}
COPY --from=environment /venv /venv
WORKDIR /app
COPY blueprints/*.py blueprints/
COPY blueprints/credit_risk/ blueprints/credit_risk/
COPY inference_services/__init__.py inference_services/
COPY inference_services/serving/ inference_services/serving/
COPY inference_services/credit_risk/ inference_services/credit_risk/
# The root file system is read-only in a pod; /tmp is a volume.
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MPLCONFIGDIR=/tmp/matplotlib \
    BIND_HOST=0.0.0.0 \
    BLUEPRINTS_HOME=/tmp/blueprints
USER 10001:10001
EXPOSE 8080
CMD ["python", "-m", "inference_services.credit_risk.alibi_explainer"]
