#!/usr/bin/env bash
# Runs the tests of every module with the race detector, then those that are
# not built with it, and prints one total. The race detector allocates on its
# own account, so a test that counts allocations or measures memory lives in a
# file with "//go:build !race".
set -euo pipefail
cd "$(dirname "$0")/.."

norace=$(grep -rl --include='*_test.go' '^//go:build.*!race' . |
	xargs -r grep -hoE '^func (Test|Fuzz|Example)\w*' | cut -d' ' -f2 | sort -u | paste -sd'|' || true)

missing=0
# What tests need beyond Go; the race detector is linked through cgo.
scripts/need.sh gcc || missing=1

testsum=$(GOWORK=off go -C scripts tool -n testsum)
run() {
	status=0
	go test -timeout 10m -race -json work || status=1
	if [ -n "$norace" ]; then
		echo "without -race:"
		go test -timeout 10m -run "^($norace)\$" -json work || status=1
	fi
	echo "scripts:"
	GOWORK=off go -C scripts test -json work || status=1
	return $status
}
failed=0
run | "$testsum" || failed=1

exit $((missing | failed))
