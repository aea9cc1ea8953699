# syntax=docker/dockerfile:1
# Two stages on the same interpreter: what builds stays behind.
ARG PYTHON=3.13-slim-bookworm

FROM python:${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/tandem
WORKDIR /build
COPY requirements.lock ./
RUN /opt/tandem/bin/pip install --require-hashes --requirement requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN /opt/tandem/bin/pip install --no-deps --no-build-isolation . \
 && /opt/tandem/bin/pip uninstall --yes hatchling editables pip \
 && /usr/local/bin/python -m compileall -q /opt/tandem/lib

FROM python:${PYTHON}
RUN apt-get update \
 && apt-get install --yes --no-install-recommends libmagic1 \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 10001 tandem \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin tandem \
 && install --directory --owner=10001 --group=10001 --mode=0700 /data
COPY --from=build /opt/tandem /opt/tandem
COPY --chmod=0755 config/docker-entrypoint.sh /usr/local/bin/docker-entrypoint.sh
COPY config/tandem.example.toml /etc/tandem/tandem.example.toml
ENV PATH=/opt/tandem/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
EXPOSE 5002
# Whether the process answers, nothing else: an outage of WhatsApp must never restart the container.
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 CMD tandem check --live || exit 1
# Starts as root because Railway's volumes belong to root, and gives that up before anything of Tandem runs.
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["tandem", "run"]
