# One image for every role: the binary and nothing else, on an empty base. It runs as nobody in
# particular, writes to /data alone, and asks itself how it is. Why so: docs/decisions/0017.
#
#   docker build --tag agon:0.1.0 --build-arg REVISION="$(git rev-parse HEAD)" .

# The manifests with an empty source for each crate: the same for as long as the manifests are.
FROM rust:1.95.0-bookworm AS manifests
WORKDIR /agon
COPY . .
RUN find . -name '*.rs' ! -path '*/src/lib.rs' ! -path '*/src/main.rs' ! -path '*/benches/*' \
    -delete \
    && find . -type f ! -name '*.rs' ! -name 'Cargo.*' -delete \
    && find . -name '*.rs' -exec truncate --size 0 {} + \
    && echo 'fn main() {}' >agon/src/main.rs \
    && find . -type d -empty -delete

# What others wrote, which changes least and takes longest.
FROM rust:1.95.0-bookworm AS dependencies
WORKDIR /agon
# TLS to brokers; --build-arg FEATURES= leaves it out.
ARG FEATURES=kafka-tls
# No shared library: none is in the image. Symbols would be a fifth of it.
ENV RUSTFLAGS="-C target-feature=+crt-static" \
    CARGO_INCREMENTAL=0 \
    CARGO_PROFILE_DIST_STRIP=symbols \
    LIBZ_SYS_STATIC=1 \
    OPENSSL_STATIC=1
COPY --from=manifests /agon .
RUN cargo build --locked --profile dist --target "$(rustc --print host-tuple)" \
    --package agon --features "$FEATURES"

FROM dependencies AS build
COPY . .
# Else a source that is older than the empty one in its place would be taken for built.
RUN find . -name '*.rs' -exec touch {} + \
    && cargo build --locked --profile dist --target "$(rustc --print host-tuple)" \
    --package agon --features "$FEATURES" \
    && install -D -t /image/usr/local/bin target/*/dist/agon
# What a name means, who runs, and whom TLS trusts: all that the binary reads of a system.
RUN install -d /image/etc/ssl/certs && install -d -m 0700 /data \
    && echo 'hosts: files dns' >/image/etc/nsswitch.conf \
    && echo 'agon:x:10001:10001:agon:/data:/nonexistent' >/image/etc/passwd \
    && echo 'agon:x:10001:' >/image/etc/group \
    && cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/

FROM scratch
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="agon" \
    org.opencontainers.image.description="Live leaderboards from events, every role in one binary" \
    org.opencontainers.image.version="$VERSION" \
    org.opencontainers.image.revision="$REVISION" \
    org.opencontainers.image.created="$CREATED" \
    org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /image /
# A volume that is mounted here first takes over its owner.
COPY --from=build --chown=10001:10001 /data /data
# The health check reads the same variable as the role.
ENV PATH=/usr/local/bin AGON_LISTEN=0.0.0.0:8080
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=3 \
    CMD ["/usr/local/bin/agon", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/agon"]
CMD ["serve", "--data", "/data"]
