# The server as a container: API, worker, scheduler and every other command, by what it is started with.
#   docker build -t tallystick .
# The build stage installs exact versions with hashes and throws its tools away; the image has no pip cache, no compiler, no
# package of the development tools, no embedded PostgreSQL or Redis, and nothing in it runs as root.

ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
COPY requirements.lock requirements.server.lock ./
RUN python -m venv /venv && /venv/bin/pip install --require-hashes -r requirements.server.lock
# The build backend, as it is locked; so that building our own wheel takes nothing from anywhere.
RUN sed -n '/^setuptools==/,/[^\\]$/p' requirements.lock > build.lock \
    && python -m venv /tools && /tools/bin/pip install --require-hashes -r build.lock
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY sync ./sync
COPY client_sdk ./client_sdk
COPY server ./server
COPY migrations ./migrations
RUN /tools/bin/pip wheel --no-deps --no-index --no-build-isolation --wheel-dir wheels . \
    && /venv/bin/pip install --no-deps --no-index wheels/tallystick-*.whl \
    && /venv/bin/python -m compileall -q /venv/lib && /venv/bin/pip uninstall --quiet --yes pip

FROM ${PYTHON_IMAGE} AS server
# What PDFs are drawn with, and one typeface.
RUN apt-get update && apt-get install -y --no-install-recommends \
        libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0 fonts-dejavu-core \
    && rm -rf /var/lib/apt/lists/*
RUN groupadd --system --gid 10001 tallystick \
    && useradd --system --uid 10001 --gid 10001 --home-dir /var/lib/tallystick --create-home tallystick
COPY --from=build /venv /venv
ENV PATH=/venv/bin:/usr/local/bin:/usr/bin:/bin PYTHONUNBUFFERED=1 TALLYSTICK_DATA_DIR=/var/lib/tallystick
WORKDIR /var/lib/tallystick
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
ENTRYPOINT ["tallystick"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000"]
