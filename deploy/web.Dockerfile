# The web process, the scheduler and the `ctl` worker: one image, three commands. No array frameworks.

FROM node:24-slim AS page
WORKDIR /build
COPY frontend/package.json frontend/package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY frontend/ ./
RUN npm run build

FROM python:3.11-slim AS packages
RUN python -m venv /venv
COPY requirements/web.txt ./
RUN /venv/bin/pip install --no-cache-dir -r web.txt

FROM python:3.11-slim
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent stillroom \
    && install --directory --owner stillroom --group stillroom --mode 700 /data /token
COPY --from=packages /venv /venv
WORKDIR /app
COPY manage.py ./
COPY deploy/healthy.py deploy/
COPY platform/ platform/
# Specs only: they are read to draw forms and to check what is submitted; nothing here imports an array library.
COPY models_core/ models_core/
COPY --from=page /build/dist frontend/dist
ENV PATH=/venv/bin:$PATH \
    PYTHONPATH=/app/platform:/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DJANGO_SETTINGS_MODULE=stillroom.config.settings \
    STILLROOM_HOME=/data
RUN python -m compileall -q platform models_core
USER stillroom
VOLUME /data
EXPOSE 8000
CMD ["uvicorn", "stillroom.config.asgi:application", "--host", "0.0.0.0", "--port", "8000", "--workers", "2", \
     "--no-access-log", "--ws-max-size", "65536", "--timeout-graceful-shutdown", "10"]
