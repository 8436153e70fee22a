# A container with one binary for each process of the node, run as a user without rights.
#
#   docker build -t bulkhead .
#   docker run --rm -v bulkhead:/data -p 9735:9735 bulkhead \
#       --bitcoin-rpcconnect=HOST --bitcoin-rpcuser=USER --bitcoin-rpcpassword=PASSWORD
#   docker exec CONTAINER lightning-cli --lightning-dir=/data getinfo
#
# Not tried: there was no container engine where this was written, so neither the build nor a run of the
# image has been seen. What stands in it was checked by hand: the packages are those that `cargo xtask setup`
# asks for on this Debian, the build line is the one that the tests use, the options are lightningd's.
# An engine's own seccomp profile usually forbids unshare and mount: then the daemons run without namespaces
# of their own and `lightning-cli listsandbox` says so. `--security-opt seccomp=unconfined` gives them back
# (each daemon has a stricter filter itself), and --sandbox=required then insists on all of it.
# Unknown are the size of the image and how the health check behaves while the node waits for bitcoind.

# ---- build -------------------------------------------------------------------------------------------------
FROM rust:1-bookworm AS build
# RocksDB is C++, its bindings are made with libclang.
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ clang libclang-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# One profile; --locked: exactly the versions of Cargo.lock.
RUN CARGO_TARGET_DIR=/build cargo build --locked --release --bins \
        -p lightningd -p hsmd -p connectd -p channeld -p onchaind -p chaind -p payd -p lightning-cli -p hsmtool \
    && mkdir /out \
    && for binary in lightningd hsmd connectd channeld onchaind chaind payd lightning-cli lightning-hsmtool; do \
           install -m 0755 "/build/release/$binary" "/out/$binary" || exit 1; \
       done

# ---- run ---------------------------------------------------------------------------------------------------
FROM debian:bookworm-slim
# RocksDB's runtime; nothing else is linked that the base does not have.
RUN apt-get update \
    && apt-get install -y --no-install-recommends libstdc++6 \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --system --gid 9735 bulkhead \
    && useradd --system --uid 9735 --gid 9735 --home-dir /data --shell /usr/sbin/nologin bulkhead \
    && install -d -o 9735 -g 9735 -m 0700 /data /data/bitcoin
# lightningd looks for the others beside itself.
COPY --from=build /out/ /usr/local/bin/

USER 9735:9735
ENV LIGHTNING_NETWORK=bitcoin
# /data: database, seed, journal, RPC socket, config. /data/bitcoin: where bitcoind's folder can be mounted
# read-only, for its cookie.
VOLUME ["/data", "/data/bitcoin"]
EXPOSE 9735

HEALTHCHECK --interval=30s --timeout=10s --start-period=120s --retries=3 \
    CMD lightning-cli --lightning-dir=/data --network="$LIGHTNING_NETWORK" getinfo >/dev/null || exit 1

# SIGTERM stops every process in order.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/bin/sh", "-c", "exec lightningd --lightning-dir=/data --network=\"$LIGHTNING_NETWORK\" \"$@\"", "lightningd"]
CMD ["--addr=0.0.0.0:9735"]
