#!/usr/bin/env bash
# Runs every fuzz target of every module for a short while. FUZZTIME sets the
# time a target gets; by default it is 5s, less when there are so many targets
# that all together would take more than four minutes.
set -euo pipefail
cd "$(dirname "$0")/.."

# "go test -list" prints a package's targets, then its "ok" line.
list=$(go test -list '^Fuzz' work)
targets=$(awk '/^Fuzz/ { names[n++] = $1 }
	/^ok/ { for (i = 0; i < n; i++) print $2, names[i]; n = 0 }' <<<"$list")
if [ -z "$targets" ]; then
	echo "no fuzz target"
	exit 0
fi

count=$(wc -l <<<"$targets")
each=$((240 / count))
each=${FUZZTIME:-$((each > 5 ? 5 : each < 1 ? 1 : each))s}

# When the time is up while a worker is being handed its next input, the fuzzer
# reports its own deadline as a failure of the target. A target that fails says
# what failed, and leaves the input that did it.
own_deadline() { grep -qx '    context deadline exceeded' <<<"$1" && ! grep -q 'Failing input written\|panic:\|_test.go:' <<<"$1"; }

failed=0
while read -r package target; do
	if out=$(go test -run '^$' -fuzz "^$target\$" -fuzztime "$each" "$package" 2>&1) || own_deadline "$out"; then
		echo "ok   $package $target $each"
	else
		echo "$out"
		echo "FAIL $package $target"
		failed=1
	fi
done <<<"$targets"
exit $failed
