# The server with Claude Code and the tools that coding agents use, on a slim Debian.
#
# More tools:      --build-arg PACKAGES="python3 make"           (names of Debian packages)
# Another CLI:     a Dockerfile of two lines on top of this image, see docs/containers.md
# Without Claude:  --build-arg CLAUDE_VERSION=
#
# Claude Code is not part of Pilothouse and not under its licence: its terms do not let us hand out copies. This recipe
# installs it from where its makers publish it; who builds the image agrees to their terms.
# No heredocs, no mounts, no COPY --chmod: the legacy builder (DOCKER_BUILDKIT=0) does all of it too.
ARG BASE=debian:trixie-slim

# Claude Code is one native program that npm unpacks. Neither npm nor Node.js is in the image that this makes.
FROM ${BASE} AS claude
ARG CLAUDE_VERSION=2.1.332
# Debian's Node.js reads the system's certificates; this says so to any other one in BASE.
ENV NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt
RUN mkdir -p /claude \
 && if [ -n "${CLAUDE_VERSION}" ]; then \
      if ! command -v npm >/dev/null; then \
        apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends npm ca-certificates && rm -rf /var/lib/apt/lists/*; \
      fi \
      && npm install --no-audit --no-fund --loglevel=error --prefix /npm "@anthropic-ai/claude-code@${CLAUDE_VERSION}" \
      && cp -L /npm/node_modules/.bin/claude /claude/claude \
      && chmod 0755 /claude/claude \
      && rm -rf /npm /root/.npm \
      && head -c 4 /claude/claude | grep -q ELF \
      && [ "$(/claude/claude --version | cut -d' ' -f1)" = "${CLAUDE_VERSION}" ]; \
    fi

FROM ${BASE}
LABEL org.opencontainers.image.title="pilothouse-agent" \
      org.opencontainers.image.description="Runs any CLI coding agent as an isolated, self-hosted, observable A2A agent: with Claude Code and common tools" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0, and the terms of what is installed"
ARG PACKAGES=""
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ca-certificates curl gh git jq ripgrep tini ${PACKAGES} \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log
# The group 0 may write, so that a platform that runs containers under any user number (with group 0) works as well.
RUN useradd --uid 10001 --gid 0 --no-create-home --home-dir /var/lib/pilothouse --shell /usr/sbin/nologin pilothouse \
 && mkdir -p /etc/pilothouse /workspace /var/lib/pilothouse \
 && chown 10001:0 /workspace /var/lib/pilothouse \
 && chmod 2775 /workspace \
 && chmod 0770 /var/lib/pilothouse
COPY --from=claude /claude/ /usr/local/bin/
ARG BINARY=target/image/pilothouse
COPY ${BINARY} /usr/local/bin/pilothouse
ENV PILOTHOUSE_SERVER_HOST=0.0.0.0 \
    PILOTHOUSE_WORKSPACE_PATH=/workspace \
    PILOTHOUSE_STATE_DIR=/var/lib/pilothouse \
    LANG=C.UTF-8
# All but `processes`, which takes namespaces that engines do not let a container make: docs/containers.md.
ENV PILOTHOUSE_ISOLATION_REQUIRE=env,fs.read,fs.write,peer-sessions,server-memory,net.egress,net.loopback,unix-sockets,kill-tree
# What is mounted into the working folder is the operator's word; sessions cannot write there.
ENV PILOTHOUSE_TRUST_FOLDER=1
USER 10001:0
# ./pilothouse.yaml and ./.env are looked for here: mount them.
WORKDIR /etc/pilothouse
VOLUME ["/workspace", "/var/lib/pilothouse"]
EXPOSE 2222
HEALTHCHECK --interval=30s --timeout=5s --start-period=15s --retries=3 CMD ["pilothouse", "healthcheck"]
# tini takes in what nobody waits for. -s: where it is not process 1 (pods that share their process namespace), it still does.
ENTRYPOINT ["tini", "-s", "--", "pilothouse"]
CMD ["serve"]
