#!/usr/bin/env bash
# Puts the gateway in front of a real nginx that serves a real tree (this
# repository, Go's own sources and documentation, and a file of 200 MB), loads
# it with hey, and checks that every body is nginx's own, byte for byte, cold
# and warm. Everything listens on loopback, and is stopped.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="$PATH:/usr/sbin"

CI=true scripts/need.sh nginx hey curl

nginx_port=18081 gateway_port=18082 admin_port=18083
origin=http://127.0.0.1:$nginx_port gateway=http://127.0.0.1:$gateway_port
tmp=$(mktemp -d)
chmod 755 "$tmp" # nginx's workers read it as another user
pids=()
cleanup() {
	for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
	wait 2>/dev/null || true
	rm -rf "$tmp"
}
trap cleanup EXIT
fail() { echo "FAILED: $*" >&2; exit 1; }
wait_for() { for _ in $(seq 100); do curl -sf -o /dev/null "$1" && return; sleep 0.1; done; fail "$1 does not answer"; }

# The tree: copies, so that nginx needs no right to read anything else.
mkdir -p "$tmp/www/go" "$tmp/logs"
git ls-files -z | xargs -0 cp --parents -t "$tmp/www"
goroot=$(go env GOROOT)
for dir in doc misc lib/time src/net src/image src/compress src/html src/crypto; do
	[ -e "$goroot/$dir" ] && (cd "$goroot" && cp -rL --parents "$dir" "$tmp/www/go")
done
head -c 200000000 /dev/urandom >"$tmp/www/large.bin"
find "$tmp/www" -name '*_test.go' -size -1k -delete
chmod -R a+rX "$tmp/www"

cat >"$tmp/nginx.conf" <<CONF
worker_processes 1;
daemon off;
pid $tmp/nginx.pid;
error_log $tmp/logs/error.log;
events { worker_connections 2048; }
http {
	include /etc/nginx/mime.types;
	access_log $tmp/logs/access.log;
	client_body_temp_path $tmp/body; proxy_temp_path $tmp/proxy; fastcgi_temp_path $tmp/fcgi;
	uwsgi_temp_path $tmp/uwsgi; scgi_temp_path $tmp/scgi;
	server {
		listen 127.0.0.1:$nginx_port;
		root $tmp/www;
		expires 10m;
	}
}
CONF
nginx -e "$tmp/logs/error.log" -c "$tmp/nginx.conf" &
pids+=($!)
go build -o "$tmp/freshet" ./server/freshet
"$tmp/freshet" -upstream "$origin" -listen "127.0.0.1:$gateway_port" -admin "127.0.0.1:$admin_port" 2>"$tmp/logs/freshet.log" &
freshet=$!
pids+=("$freshet")
wait_for "$origin/README.md"
wait_for "http://127.0.0.1:$admin_port/readyz"

# Every body, cold and warm.
(cd "$tmp/www" && find . -type f ! -name large.bin | sort | cut -c3- | awk 'NR % 7 == 1' | head -n 400) >"$tmp/paths"
compare() {
	while read -r path; do
		url=$(sed 's/%/%25/g; s/ /%20/g; s/#/%23/g; s/?/%3F/g' <<<"$path")
		curl -sf "$gateway/$url" -o "$tmp/got" || fail "$path: no answer"
		cmp -s "$tmp/got" "$tmp/www/$path" || fail "$path: the body is not nginx's"
	done <"$tmp/paths"
}
files=$(wc -l <"$tmp/paths")
compare
compare
echo "bodies: $files files ($(find "$tmp/www" -type f | wc -l) in the tree) identical, cold and warm"
for mime in text/html image/png; do
	curl -sI "$origin/$(grep -m1 "${mime#*/}\$" "$tmp/paths" || echo README.md)" | grep -qi '^content-type' || fail "nginx sends no content type"
done

# The large file: too large to be stored, so it streams through.
want=$(sha256sum <"$tmp/www/large.bin")
for i in $(seq 20); do
	(curl -sf "$gateway/large.bin" | sha256sum >"$tmp/sum.$i") &
	downloads[i]=$!
done
wait "${downloads[@]}"
for i in $(seq 20); do [ "$(cat "$tmp/sum.$i")" = "$want" ] || fail "large file, download $i: the body is not nginx's"; done
rss=$(awk '/^VmHWM/ { print int($2 / 1024) }' "/proc/$freshet/status")
echo "large file: 20 concurrent cold downloads of 200 MB identical; peak memory of the gateway $rss MiB"
[ "$rss" -lt 400 ] || fail "the gateway used $rss MiB"

# Load.
metric() { curl -s "http://127.0.0.1:$admin_port/metrics" | awk -v m="$1" 'index($1, m) == 1 { n += $2 } END { printf "%d", n }'; }
before=$(metric freshet_origin_calls_total)
load() { hey -n 20000 -c 200 "$1" | awk '/Requests\/sec/ { r = $2 } / 50% in/ { a = $3 } / 99% in/ { b = $3 } /\[200\]/ { ok = $2 }
	END { printf "%d req/s, p50 %.1f ms, p99 %.1f ms, %d answered 200\n", r, a * 1000, b * 1000, ok }'; }
page=README.md
curl -sf -o /dev/null "$gateway/$page"
through=$(load "$gateway/$page")
direct=$(load "$origin/$page")
echo "hey -n 20000 -c 200, $(stat -c %s "$tmp/www/$page") bytes, through the gateway: $through"
echo "hey -n 20000 -c 200, straight to nginx:       $direct"
grep -q '20000 answered 200' <<<"$through" || fail "not every request was answered 200"
echo "origin calls during the load: $(($(metric freshet_origin_calls_total) - before))"

kill -TERM "$freshet"
wait "$freshet" || fail "the gateway did not end with status 0"
echo "the gateway drained and ended with status 0"
