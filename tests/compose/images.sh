# shellcheck shell=bash
# Base images and the images of other services, made without a registry.

make_base_images() {
    docker import "$(scripts/tool debian-image)" debian-plain >/dev/null
    # A proxy of this machine's network may have a certificate authority of its own.
    mkdir -p "$scratch/authorities"
    cp /usr/local/share/ca-certificates/*.crt "$scratch/authorities/" 2>/dev/null || :
    printf 'FROM debian-plain\nCOPY . /usr/local/share/ca-certificates/\n' |
        docker build --quiet --tag debian:trixie-slim --file - "$scratch/authorities" >/dev/null
    docker build --quiet --tag postgres:17-alpine tests/compose/postgres >/dev/null
    docker build --quiet --tag axllent/mailpit:v1.31.3 --build-context "aiosmtpd=$(scripts/tool aiosmtpd)" tests/compose/mailpit \
        >/dev/null
    docker build --quiet --tag chrislusf/seaweedfs:4.48 --file tests/compose/seaweedfs/Dockerfile \
        "$(dirname "$(scripts/tool weed)")" >/dev/null
}

# With DEB=FILE, that package replaces the stage that builds one.
use_package() {
    [ -n "${DEB:-}" ] || return 0
    mkdir -p "$scratch/built/package"
    cp "$DEB" "$scratch/built/package/pgcellar.deb"
    sed -i "s|^      dockerfile: Dockerfile.backup|&\n      additional_contexts:\n        package: $scratch/built|" compose.yaml
}
