# The server alone, from scratch: no shell, no package manager, no agent but the built-in demo one.
#
# For those who bring an agent: copy /usr/local/bin/pilothouse out of this image into their own. The binary comes
# from outside (tools/docker-build.sh builds it): it is static, so nothing here has to fit it.
# No heredocs, no mounts, no COPY --chmod: the legacy builder (DOCKER_BUILDKIT=0) does all of it too.
ARG BASE=debian:trixie-slim

# What a program without a distribution still needs: root certificates, a name for its user, folders that it may write.
# The group 0 may write too, so that a platform that runs containers under any user number (with group 0) works as well.
FROM ${BASE} AS files
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/*
RUN mkdir -p /files/etc/ssl/certs /files/etc/pilothouse /files/usr/local/bin /files/tmp /owned/workspace /owned/var/lib/pilothouse \
 && cp -L /etc/ssl/certs/ca-certificates.crt /files/etc/ssl/certs/ca-certificates.crt \
 && echo 'pilothouse:x:10001:0:Pilothouse:/var/lib/pilothouse:/sbin/nologin' >/files/etc/passwd \
 && echo 'root:x:0:' >/files/etc/group \
 && echo 'hosts: files dns' >/files/etc/nsswitch.conf \
 && chmod 1777 /files/tmp \
 && chmod 2775 /owned/workspace \
 && chmod 0770 /owned/var/lib/pilothouse
ARG BINARY=target/image/pilothouse
COPY ${BINARY} /files/usr/local/bin/pilothouse
RUN chmod 0755 /files/usr/local/bin/pilothouse

FROM scratch
LABEL org.opencontainers.image.title="pilothouse-server" \
      org.opencontainers.image.description="Runs any CLI coding agent as an isolated, self-hosted, observable A2A agent: the server alone" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
COPY --from=files /files/ /
# Copied as contents of a folder, because the legacy builder does not change the owner of a folder that is copied empty.
COPY --from=files --chown=10001:0 /owned/ /
ENV PATH=/usr/local/bin \
    PILOTHOUSE_SERVER_HOST=0.0.0.0 \
    PILOTHOUSE_WORKSPACE_PATH=/workspace \
    PILOTHOUSE_STATE_DIR=/var/lib/pilothouse
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
ENTRYPOINT ["pilothouse"]
CMD ["serve"]
