# One image for machines with and without an NVIDIA card.
#   docker build -t doppelkopf .
#   docker run --rm -p 8000:8000 doppelkopf
#   docker run --rm -p 8000:8000 --gpus all -v ./model_store:/srv/doppelkopf/model_store:ro doppelkopf
# A slim base is enough: torch's wheel contains the CUDA libraries, and NVIDIA's container runtime adds
# the host's driver. One build stage is enough too: only wheels are installed, so no compiler has to be
# removed afterwards.

# The Python version that requirements/lock.txt is resolved for.
FROM python:3.11-slim

WORKDIR /srv/doppelkopf

# The dependencies are a layer of their own, which a change of the code leaves in the cache. Serving
# needs no extra, except on several machines: --build-arg EXTRAS=ray. pip checks every file by the hashes
# of the lock file, torch's too; pip itself comes first, since versions before 26.1 cannot do that.
ARG EXTRAS=
RUN --mount=type=cache,target=/root/.cache/pip \
    --mount=type=bind,source=pyproject.toml,target=/tmp/source/pyproject.toml \
    --mount=type=bind,source=requirements,target=/tmp/source/requirements \
    pip install --root-user-action=ignore --require-hashes --requirement /tmp/source/requirements/bootstrap.txt \
    && python /tmp/source/requirements/direct.py ${EXTRAS} > /tmp/direct.txt \
    && pip install --root-user-action=ignore --constraint /tmp/source/requirements/lock.txt \
        --requirement /tmp/direct.txt \
    && rm /tmp/direct.txt

RUN --mount=type=bind,target=/tmp/source \
    pip install --root-user-action=ignore --no-cache-dir --no-deps \
        --build-constraint /tmp/source/requirements/lock.txt /tmp/source

# The default checkpoint. A volume mounted at model_store replaces it.
COPY model_store/demo model_store/demo

# The root file system may be read-only, so libraries get /tmp for their caches; they download nothing.
# Of the NVIDIA driver, the container gets the parts for computing and for nvidia-smi, if it is started
# with `--gpus`.
ENV DOPPELKOPF_HOST=0.0.0.0 \
    HOME=/tmp \
    HF_HUB_OFFLINE=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

# A numeric user, because Kubernetes' runAsNonRoot cannot check a name.
USER 10001:10001
EXPOSE 8000

# http.client, because urllib would use a proxy that the environment names.
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('DOPPELKOPF_PORT', '8000')), timeout=4); c.request('GET', '/health/ready'); sys.exit(c.getresponse().status != 200)"]

ENTRYPOINT ["doppelkopf"]
CMD ["serve"]
