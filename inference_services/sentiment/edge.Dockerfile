# The sentiment server for small machines: REST on one thread, without kserve and gRPC.
#   docker build -t ml-deployment-blueprints/sentiment-edge:0.1.0 -f inference_services/sentiment/edge.Dockerfile .
ARG PYTHON=python:3.11-slim-bookworm

FROM ${PYTHON} AS environment
COPY locks/edge.txt /locks/edge.txt
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --require-hashes -r /locks/edge.txt \
    && /venv/bin/pip uninstall --yes pip setuptools

FROM ${PYTHON}
COPY --from=environment /venv /venv
WORKDIR /app
COPY blueprints/*.py blueprints/
COPY blueprints/sentiment/__init__.py blueprints/sentiment/classifier.py blueprints/sentiment/text_model.py blueprints/sentiment/text_reader.py blueprints/sentiment/
COPY inference_services/__init__.py inference_services/
COPY inference_services/serving/ inference_services/serving/
COPY inference_services/sentiment/*.py inference_services/sentiment/
# The root file system is read-only in a pod; /tmp is a volume.
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    BIND_HOST=0.0.0.0
USER 10001:10001
EXPOSE 8080
CMD ["python", "-m", "inference_services.sentiment.edge"]
