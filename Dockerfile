# Doppelkopf's image: one for machines with and without an NVIDIA card. torch's wheel brings its CUDA
# libraries along, so the base needs none; the host's NVIDIA runtime adds the driver where there is one.
#   docker build -t doppelkopf .
#   docker run --rm -p 8000:8000 doppelkopf
#   docker run --rm -p 8000:8000 --gpus all -v ./model_store:/srv/doppelkopf/model_store:ro doppelkopf
# One stage: everything installed is a wheel, so there is no compiler to leave behind, and the large
# layer of dependencies stays as it is when only the code changes.

# The Python that constraints.txt was made with.
FROM python:3.11-slim

WORKDIR /srv/doppelkopf

# Serving needs none of the extras, but for several machines: --build-arg EXTRAS=ray. The versions are
# those the tests ran with, and every file is checked against their hashes. pip comes first, since older
# ones cannot do that.
ARG EXTRAS=
RUN --mount=type=cache,target=/root/.cache/pip \
    --mount=type=bind,source=pyproject.toml,target=/tmp/pyproject.toml \
    --mount=type=bind,source=constraints.txt,target=/tmp/constraints.txt \
    sed -n '/^pip==/,/[^\\]$/p' /tmp/constraints.txt > /tmp/requirements.txt \
    && pip install --root-user-action=ignore --require-hashes --requirement /tmp/requirements.txt \
    && python -c "import os, tomllib; project = tomllib.load(open('/tmp/pyproject.toml', 'rb'))['project']; print(*project['dependencies'], *(line for extra in os.environ['EXTRAS'].split() for line in project['optional-dependencies'][extra]), sep='\n')" > /tmp/requirements.txt \
    && pip install --root-user-action=ignore --constraint /tmp/constraints.txt --requirement /tmp/requirements.txt \
    && rm /tmp/requirements.txt

RUN --mount=type=bind,target=/tmp/source \
    pip install --root-user-action=ignore --no-cache-dir --no-deps --build-constraint /tmp/source/constraints.txt /tmp/source

# A checkpoint to begin with; a volume mounted over model_store brings others.
COPY model_store/demo model_store/demo

# The root file system may be read-only: whatever libraries cache goes to /tmp, and nothing is fetched.
# The driver's compute part is asked for here; whether there is a card at all is `--gpus`' decision.
ENV DOPPELKOPF_HOST=0.0.0.0 \
    HOME=/tmp \
    HF_HUB_OFFLINE=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

# A number, so that a cluster can see that it is not root.
USER 10001:10001
EXPOSE 8000

# http.client takes no proxy from the environment, unlike urllib.
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('DOPPELKOPF_PORT', '8000')), timeout=4); c.request('GET', '/health/ready'); sys.exit(c.getresponse().status != 200)"]

ENTRYPOINT ["doppelkopf"]
CMD ["serve"]
