# The tracking server of compose.yaml: MLflow with the clients of PostgreSQL and S3, each at its
# version in requirements.lock.
#
#   docker compose -f docker/compose.yaml build
#
# The tag is exact, but a tag can be moved: --build-arg BASE=debian@sha256:<digest> holds on to one.
ARG BASE=debian:13.6-slim
FROM ${BASE}

# The distribution pins these; a version here would break with its next security update.
# hadolint ignore=DL3008
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
      ca-certificates python3 python3-venv \
 && rm -rf /var/lib/apt/lists/*

COPY docker/mlflow.lock /opt/mlflow.lock
RUN python3 -m venv /opt/venv \
 && /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes --no-deps \
      --only-binary :all: -r /opt/mlflow.lock

# A new volume takes its owner from the folder that it covers.
RUN useradd --uid 10002 mlflow && install -d -o mlflow -g mlflow /artifacts
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/tmp \
    PYTHONUNBUFFERED=1 \
    MLFLOW_DISABLE_TELEMETRY=true \
    MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false
WORKDIR /tmp
USER 10002:10002
EXPOSE 5000
CMD ["mlflow", "server", "--host", "0.0.0.0"]
