#!/usr/bin/env bash
# Usage: conformance.sh [-all] [-cache NAME]
# Runs the public test suite for HTTP caches; see scripts/conformance. Without
# Node and a package registry to install the suite from it says so, and fails
# only under CI=true.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="$PATH:/usr/sbin"

not_run() { echo "conformance: NOT RUN, $1" >&2; [ "${CI:-}" != true ]; exit; }

scripts/need.sh npm
command -v npm >/dev/null || not_run "npm is missing"
suite=scripts/conformance/suite
(cd $suite && npm ci --silent) || not_run "the suite could not be installed"
if [ "${1:-}" = -all ]; then
	CI=true scripts/need.sh nginx varnishd
fi
conformance=$(GOWORK=off go -C scripts tool -n conformance)
"$conformance" "$@"
