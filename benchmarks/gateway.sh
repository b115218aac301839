#!/usr/bin/env bash
# Hits per second of the gateway, nginx's proxy_cache and Varnish, each alone
# on one core, with wrk on another, in turns. All cache the same object of
# 1 KiB from the same origin, and keep connections alive. Everything listens on
# loopback, and is stopped. Prints a table.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="$PATH:/usr/sbin"

rounds=${ROUNDS:-5} seconds=${SECONDS_EACH:-4} connections=64
CI=true scripts/need.sh nginx varnishd wrk curl taskset
[ "$(nproc)" -ge 2 ] || { echo "needs 2 cores" >&2; exit 1; }

origin=127.0.0.1:18091 freshet=127.0.0.1:18092 nginx=127.0.0.1:18093 varnish=127.0.0.1:18094
tmp=$(mktemp -d)
chmod 755 "$tmp" # nginx's worker and Varnish read it as another user
pids=()
cleanup() {
	for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
	wait 2>/dev/null || true
	rm -rf "$tmp"
}
trap cleanup EXIT
fail() { echo "FAILED: $*" >&2; exit 1; }

mkdir -p "$tmp/www" "$tmp/cache" "$tmp/varnish"
head -c 768 /dev/urandom | base64 -w0 >"$tmp/www/object.txt"
chmod -R a+rwX "$tmp"
cat >"$tmp/nginx.conf" <<CONF
worker_processes 1;
daemon off;
pid $tmp/nginx.pid;
error_log $tmp/error.log;
events { worker_connections 1024; }
http {
	access_log off;
	keepalive_requests 1000000000;
	client_body_temp_path $tmp/body; fastcgi_temp_path $tmp/fcgi; uwsgi_temp_path $tmp/uwsgi; scgi_temp_path $tmp/scgi;
	proxy_temp_path $tmp/proxy;
	proxy_cache_path $tmp/cache keys_zone=objects:10m;
	server {
		listen $origin;
		root $tmp/www;
		expires 1h;
	}
	server {
		listen $nginx;
		location / { proxy_pass http://$origin; proxy_cache objects; add_header Cache \$upstream_cache_status; }
	}
}
CONF
taskset -c 0 nginx -e "$tmp/error.log" -c "$tmp/nginx.conf" &
pids+=($!)
go build -o "$tmp/freshet" ./server/freshet
taskset -c 0 "$tmp/freshet" -upstream "http://$origin" -listen "$freshet" -admin off 2>"$tmp/freshet.log" &
pids+=($!)
taskset -c 0 varnishd -F -a "$varnish" -b "$origin" -n "$tmp/varnish" -s malloc,64m >"$tmp/varnish.log" 2>&1 &
pids+=($!)

declare -A addresses=([freshet]=$freshet [nginx]=$nginx [varnish]=$varnish)
for name in freshet nginx varnish; do
	url=http://${addresses[$name]}/object.txt
	for _ in $(seq 100); do curl -sf -o /dev/null "$url" && break; sleep 0.1; done
	curl -sf "$url" | cmp -s - "$tmp/www/object.txt" || fail "$name does not serve the object"
	curl -sfi "$url" -o "$tmp/$name.head"
	case $name in
	freshet) grep -qi '^cache-status: *freshet; hit' "$tmp/$name.head" ;;
	nginx) grep -qi '^cache: HIT' "$tmp/$name.head" ;;
	varnish) grep -qiE '^x-varnish: [0-9]+ [0-9]+' "$tmp/$name.head" ;;
	esac || fail "$name: not a hit: $(cat "$tmp/$name.head")"
done

: >"$tmp/results"
for round in $(seq "$rounds"); do
	for name in freshet nginx varnish; do
		taskset -c 1 wrk -t1 -c"$connections" -d"${seconds}s" --latency "http://${addresses[$name]}/object.txt" >"$tmp/wrk"
		grep -qE 'Non-2xx|Socket errors' "$tmp/wrk" && fail "$name: $(cat "$tmp/wrk")"
		awk -v name="$name" '/Requests\/sec/ { rate = $2 } $1 == "50%" { p50 = $2 } $1 == "99%" { p99 = $2 } END { print name, rate, p50, p99 }' "$tmp/wrk" >>"$tmp/results"
	done
done

echo "hits/s of 1 KiB on one core, wrk -t1 -c$connections on the other, median of $rounds rounds of ${seconds}s, in turns"
echo
echo "| | hits/s | x freshet | p50 | p99 | lowest to highest |"
echo "|---|---|---|---|---|---|"
median() { sort -g | awk '{ v[NR] = $0 } END { print v[int((NR + 1) / 2)] }'; }
of() { awk -v name="$1" '$1 == name { print $2 }' "$tmp/results"; }
base=$(of freshet | median)
for name in freshet nginx varnish; do
	middle=$(of $name | median)
	awk -v name=$name -v rate="$middle" -v base="$base" -v low="$(of $name | sort -g | head -1)" -v high="$(of $name | sort -g | tail -1)" \
		'$1 == name && $2 == rate { printf "| %s | %d | %.2f | %s | %s | %d to %d |\n", name, rate, rate / base, $3, $4, low, high; exit }' "$tmp/results"
done
echo
echo "$(nginx -v 2>&1), $(varnishd -V 2>&1 | head -1 | grep -o 'varnish-[0-9.]*'), $(go version | cut -d' ' -f3)"
