#!/usr/bin/env bash
# Usage: tidy.sh [-check]
# Tidies the module files of every module, or with -check only tells which are
# not tidy.
#
# A nested module requires a version of its siblings that may not be released
# yet, and must carry no replace directive. So each module is tidied in a
# throwaway copy of its module file that points the siblings to this tree.
set -euo pipefail
cd "$(dirname "$0")/.."

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
siblings=$(go list -m -f '{{.Path}}={{.Dir}}')
export GOWORK=off

status=0
for dir in $(sed 's/.*=//' <<<"$siblings") "$PWD/scripts"; do
	name=$(realpath --relative-to=. "$dir")
	cp "$dir/go.mod" "$tmp/go.mod"
	rm -f "$tmp/go.sum"
	[ -f "$dir/go.sum" ] && cp "$dir/go.sum" "$tmp/go.sum"
	touch "$tmp/go.sum"
	for s in $siblings; do
		go mod edit -replace "$s" "$tmp/go.mod"
	done
	go -C "$dir" mod tidy -modfile="$tmp/go.mod"
	for s in $siblings; do
		go mod edit -dropreplace "${s%%=*}" "$tmp/go.mod"
	done
	if [ "${1:-}" = -check ]; then
		for file in go.mod go.sum; do
			diff -u --label "$name/$file" --label "$name/$file (tidy)" "$dir/$file" "$tmp/$file" || status=1
		done
	else
		cp "$tmp/go.mod" "$tmp/go.sum" "$dir/"
	fi
done
[ $status = 0 ] || echo "run make tidy" >&2
exit $status
