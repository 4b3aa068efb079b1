# The one binary, built from this folder, in a small image of its own; runs as nobody in particular.
FROM rust:1.95-bookworm AS build
WORKDIR /agon
COPY . .
RUN cargo build --locked --profile dist -p agon

FROM debian:12.11-slim
COPY --from=build /agon/target/dist/agon /usr/local/bin/agon
# A volume that is mounted here first takes over its owner.
RUN useradd --system --uid 10001 --no-create-home agon && install -d -o agon -g agon /data
USER 10001
WORKDIR /data
VOLUME /data
EXPOSE 8080
ENTRYPOINT ["agon"]
CMD ["serve", "--data", "/data", "--listen", "0.0.0.0:8080"]
