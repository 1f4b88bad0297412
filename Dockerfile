# The images of this project, for those who have a container engine; without one: `cargo xtask image`.
#
#   docker build --target homelab -t homelab.dev/homelab:dev .
#   docker build --target agent   -t homelab.dev/homelab-agent:dev .
#
# The versions of helm and kustomize are those of xtask/pins.toml; the modules under xtask/programs pin what they are made of.

FROM debian:bookworm-slim AS base
# Debian serves one version of each package of a release, with its security updates: there is none to pin.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends git ca-certificates \
 && rm -rf /var/lib/apt/lists/*

FROM golang:1.26-bookworm AS tools
ENV CGO_ENABLED=0
WORKDIR /kustomize
COPY xtask/programs/kustomize .
RUN go build -trimpath -ldflags "-s -w" -o /out/ tool
RUN GOBIN=/out go install -trimpath -ldflags "-s -w" helm.sh/helm/v4/cmd/helm@v4.3.1

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# Static, as `cargo xtask image` builds them: the agent runs in images that have no libc.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo rustc --locked --package homelab-bin --bin homelab --profile release -- -C target-feature=+crt-static \
 && cargo rustc --locked --package homelab-agent --bin homelab-agent --profile agent -- -C target-feature=+crt-static \
 && mkdir /out && cp target/release/homelab target/agent/homelab-agent /out/

FROM scratch AS agent
COPY --from=build /out/homelab-agent /homelab-agent
USER 65532:65532
ENTRYPOINT ["/homelab-agent"]

FROM base AS homelab
COPY --from=tools /out/helm /out/kustomize /usr/local/bin/
COPY --from=build /out/homelab /out/homelab-agent /usr/local/bin/
ENV HOME=/tmp
WORKDIR /tmp
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/homelab"]
CMD ["daemon"]
