#!/usr/bin/env bash
# Usage: need.sh PROGRAM...
# Makes sure that each program is there, installing the Debian package of the
# same name where it is not (varnishd: varnish). Says in one line what could not be brought;
# that is an error only under CI=true, since without it the tests that need
# the program say so themselves.
set -uo pipefail

PATH="$PATH:/usr/sbin" # Debian keeps servers there, outside a user's PATH
export DEBIAN_FRONTEND=noninteractive
export RUNLEVEL=1 # keeps a package from starting its server

as_root() {
	if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

install() {
	command -v apt-get >/dev/null || { echo "no apt-get here"; return 1; }
	as_root apt-get install -y -q --no-install-recommends "$1" </dev/null 2>&1 && return
	# An unknown package or an outdated list: refresh the list and try once more.
	as_root apt-get update -q </dev/null 2>&1 &&
		as_root apt-get install -y -q --no-install-recommends "$1" </dev/null 2>&1
}

status=0
for program in "$@"; do
	command -v "$program" >/dev/null && continue
	log=$(install "${program/%varnishd/varnish}") || true
	if ! command -v "$program" >/dev/null; then
		echo "missing: $program could not be installed: $(tail -n 1 <<<"$log")" >&2
		[ "${CI:-}" = true ] && status=1
	fi
done
exit $status
