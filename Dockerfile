# Both images must have the same Debian release, since the binary is linked to its glibc.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked \
 && install -D target/release/entrepot /image/usr/local/bin/entrepot \
 && mkdir -p /image/var/lib/registry

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /image/usr/local/bin/entrepot /usr/local/bin/entrepot
# This comes before VOLUME, because a new volume takes the owner of the directory in the image. 65532 is `nonroot`.
COPY --from=build --chown=65532:65532 /image/var/lib/registry /var/lib/registry
USER 65532:65532
EXPOSE 5000
VOLUME /var/lib/registry
HEALTHCHECK --interval=30s --timeout=5s --start-period=5s CMD ["/usr/local/bin/entrepot", "health"]
ENTRYPOINT ["/usr/local/bin/entrepot"]
CMD ["serve"]
