#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Build the servers and tools that Debian lacks, or has without OTLP, from Go modules
# whose versions and sums are committed: build.sh FOLDER [NAME...]
#
# All of it takes a processor about half an hour the first time. The tests look for the
# folder in OTEL_MEMORY_STACK.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
folder=$(cd "$1" && pwd)
shift
export GOFLAGS="-buildvcs=false -mod=readonly ${GOFLAGS:-}"

tools() { # MODULE: the commands that its go.mod names as tools
    (cd "$here/$1" && go build -o "$folder/" tool)
}

collector() { # the builder writes main.go; its go.mod gives way to the committed one
    tools builder
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    cp "$here/collector/builder.yaml" "$work"
    (cd "$work" && "$folder/builder" --config builder.yaml --skip-get-modules --skip-compilation)
    cp "$here/collector/go.mod" "$here/collector/go.sum" "$work"
    (cd "$work" && go build -o "$folder/otelcol" .)
}

jaeger() { # without its pages, which are in no module; it answers all the same
    tools jaeger
    mv "$folder/all-in-one" "$folder/jaeger"
}

[ $# -gt 0 ] || set -- prometheus amtool collector jaeger victoriametrics
for name in "$@"; do
    case $name in
        collector | jaeger) "$name" ;;
        *) tools "$name" ;;
    esac
done
