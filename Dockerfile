# Built from a clone: docker build -t device-pipeline . (see docs/installing.md)
FROM node:24-bookworm-slim AS build
WORKDIR /build
COPY package.json package-lock.json ./
# Without scripts: the image has the right Node.js, and the package is built below.
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY . .
RUN npm pack --ignore-scripts=false --pack-destination /tmp \
  && npm install --global --prefix /opt/device-pipeline --offline --ignore-scripts /tmp/device-pipeline-*.tgz

FROM node:24-bookworm-slim
ENV NODE_ENV=production
COPY --from=build /opt/device-pipeline /opt/device-pipeline
# The user `node` of the image, by number, so that Kubernetes can verify that it is not root.
RUN install -d -o 1000 -g 1000 -m 0700 /data
USER 1000:1000
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 CMD ["node", "-e", "require('node:http').get('http://127.0.0.1:' + (process.env.DEVICE_PIPELINE_PORT || 8080) + '/healthz', (answer) => process.exit(answer.statusCode === 200 ? 0 : 1)).on('error', () => process.exit(1))"]
# 0.0.0.0 is not loopback: the server starts only if /data has a token, or with --insecure.
ENV DEVICE_PIPELINE_HOST=0.0.0.0 DEVICE_PIPELINE_DATA_DIR=/data
ENTRYPOINT ["node", "/opt/device-pipeline/lib/node_modules/device-pipeline/bin/device-pipeline.cjs"]
CMD ["serve"]
