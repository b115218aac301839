#!/usr/bin/env bash
# Runs the tests of every module with the race detector, then those that count
# allocations without it, and prints one total.
#
# The race detector allocates on its own account, so a test that counts
# allocations lives in a file with "//go:build !race" and has Alloc in its
# name: the second pass runs exactly those names.
set -euo pipefail
cd "$(dirname "$0")/.."

lost=$(grep -rl --include='*_test.go' '^//go:build.*!race' . | xargs -r grep -E '^func (Test|Fuzz|Example)' | grep -v Alloc || true)
if [ -n "$lost" ]; then
	echo "these are not built with -race and have no Alloc in their name, so no pass would run them:" "$lost" >&2
	exit 1
fi

missing=0
# What tests need beyond Go; the race detector is linked through cgo.
scripts/need.sh gcc || missing=1

testsum=$(GOWORK=off go -C scripts tool -n testsum)
run() {
	status=0
	go test -timeout 5m -race -json work || status=1
	echo "without -race:"
	go test -timeout 5m -run Alloc -json work || status=1
	echo "scripts:"
	GOWORK=off go -C scripts test -json work || status=1
	return $status
}
failed=0
run | "$testsum" || failed=1

exit $((missing | failed))
