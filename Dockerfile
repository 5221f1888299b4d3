# One image for every line of the Procfile: `docker run IMAGE worker`. No test of ours needs a container engine, and none
# builds this file.
FROM python:3.11-slim
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 DATA_DIR=/data
RUN useradd --create-home --uid 10001 switchboard && mkdir /data && chown switchboard /data
WORKDIR /app
COPY requirements.txt ./
RUN pip install --require-hashes -r requirements.txt
COPY . .
RUN python -m compileall -q .
USER switchboard
VOLUME /data
ENTRYPOINT ["/app/container-entrypoint.sh"]
CMD ["web"]
