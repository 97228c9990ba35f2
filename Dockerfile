# One image for workers, beats, Flower and the reference API; docker-compose.yml says what each container runs.
ARG PYTHON_IMAGE=python:3.11-slim

FROM ${PYTHON_IMAGE} AS build
# Where pip finds packages, for a machine that does not reach PyPI itself.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
RUN python3 -m venv /opt/candlelatch
WORKDIR /src
# The dependencies alone first: this layer is made again only when pyproject.toml changes.
COPY pyproject.toml ./
RUN mkdir dedup tasks && touch README.md && /opt/candlelatch/bin/pip install '.[calendars,flower]'
COPY pyproject.toml README* LICENSE* ./
COPY dedup ./dedup
COPY tasks ./tasks
RUN /opt/candlelatch/bin/pip install --no-deps --force-reinstall . \
 && /opt/candlelatch/bin/pip uninstall --yes pip setuptools

FROM ${PYTHON_IMAGE}
RUN groupadd --gid 10001 candlelatch \
 && useradd --uid 10001 --gid candlelatch --no-create-home --home-dir /var/lib/candlelatch --shell /usr/sbin/nologin candlelatch \
 && install -d -o candlelatch -g candlelatch /var/lib/candlelatch
COPY --from=build /opt/candlelatch /opt/candlelatch
COPY docker/healthcheck /usr/local/bin/healthcheck
ENV PATH=/opt/candlelatch/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HEARTBEAT_FILE=/tmp/heartbeat
WORKDIR /var/lib/candlelatch
# By number, so that an orchestrator can see that it is not root.
USER 10001:10001
# For workers and beats. Flower and the reference API are asked over HTTP, see docker-compose.yml.
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 CMD ["healthcheck", "heartbeat"]
CMD ["celery", "-A", "tasks", "worker", "-n", "worker@%h", "-Q", "control,candles,publish", "-c", "2", "-l", "info", "--without-mingle", "--without-gossip"]
