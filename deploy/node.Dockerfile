# An accelerator node: the agent and the model core. It has no Django and no way into the database.
#
#   JAX_EXTRA   for example cuda12, adds JAX's accelerator packages of the locked version
#   TORCH       for example torch==2.13.0, adds PyTorch

FROM python:3.11-slim AS packages
ARG JAX_EXTRA=""
ARG TORCH=""
RUN python -m venv /venv
COPY requirements/node.txt ./
RUN /venv/bin/pip install --no-cache-dir -r node.txt
RUN if [ -n "$JAX_EXTRA" ]; then /venv/bin/pip install --no-cache-dir -c node.txt "jax[$JAX_EXTRA]"; fi \
    && if [ -n "$TORCH" ]; then /venv/bin/pip install --no-cache-dir -c node.txt "$TORCH"; fi

FROM python:3.11-slim
RUN useradd --uid 10001 --user-group --create-home stillroom \
    && install --directory --owner stillroom --group stillroom --mode 700 /data
COPY --from=packages /venv /venv
WORKDIR /app
COPY platform/stillroom_client/ platform/stillroom_client/
COPY workers/ workers/
COPY models_core/ models_core/
ENV PATH=/venv/bin:$PATH \
    PYTHONPATH=/app/platform:/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    STILLROOM_HOME=/data
RUN python -m compileall -q platform workers models_core
USER stillroom
VOLUME /data
CMD ["python", "-m", "workers"]
