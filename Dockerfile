# One image for workers, beats, Flower and the reference API; docker-compose.yml says what each container runs.
ARG PYTHON_IMAGE=python:3.11-slim

# The dependencies: made again only when pyproject.toml changes.
FROM ${PYTHON_IMAGE} AS dependencies
# Where pip finds packages, for a machine that does not reach PyPI itself.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY pyproject.toml ./
RUN mkdir dedup tasks && touch README.md \
 && python3 -m venv /opt/venv \
 && /opt/venv/bin/pip install '.[calendars,flower,metrics]' \
 && /opt/venv/bin/pip uninstall --yes candlelatch setuptools pip

# Our own code, in a folder and a layer of its own: a megabyte that changes, beside 260 that seldom do.
FROM ${PYTHON_IMAGE} AS own
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY pyproject.toml README* LICENSE* ./
COPY dedup ./dedup
COPY tasks ./tasks
RUN python3 -m pip install --no-deps --target /opt/candlelatch .

FROM ${PYTHON_IMAGE}
RUN groupadd --gid 10001 candlelatch \
 && useradd --uid 10001 --gid candlelatch --no-create-home --home-dir /var/lib/candlelatch --shell /usr/sbin/nologin \
    candlelatch \
 && install -d -o candlelatch -g candlelatch /var/lib/candlelatch
COPY --from=dependencies /opt/venv /opt/venv
COPY docker/healthcheck /usr/local/bin/healthcheck
COPY --from=own /opt/candlelatch /opt/candlelatch
ENV PATH=/opt/venv/bin:$PATH PYTHONPATH=/opt/candlelatch PYTHONUNBUFFERED=1 HEARTBEAT_FILE=/tmp/heartbeat
WORKDIR /var/lib/candlelatch
# By number, so that an orchestrator can see that it is not root.
USER 10001:10001
# For workers and beats. Flower and the reference API are asked over HTTP, see docker-compose.yml.
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 CMD ["healthcheck", "heartbeat"]
CMD ["celery", "-A", "tasks", "worker", "--hostname=worker@%h", "--queues=control,candles,publish", "--concurrency=2", "--loglevel=info", "--without-mingle", "--without-gossip"]
