//go:build linux

package main

// why says what was found about the bars that the committed run missed.
const why = `Why, in the run that is committed:

- **Pool at 5,000/s.** 15,000 upstream calls a second are more than two cores carry, with either client, so both have a
  queue that grows, and its length is the latency. The naive service uses up its 20,000 file descriptors and fails two
  thirds of all requests at once; the pool answers 2.7 times as many and refuses the rest. At 3,000/s, which the pool can
  serve and the default client cannot, the bar holds.
- **Pool at 200/s.** On loopback a dial takes 0.1 ms and has no round trip to wait for, so calls of 300 ms show nothing of
  it. What is saved there is work: three quarters of the connections, and with TLS nearly half of the service's CPU time.
- **Side by side at 5,000/s**, alone, is the default client again, out of file descriptors. With the pool and the cache it
  is 1.3 %.
- **Hit ratio of the cache alone.** The first request for an id is a miss, and that is 24.4 % of these 100,016. All others
  were hits or joined a run under way, which a slow page makes more likely: 68.9 % and 6.7 %.
- **p95, cold start included.** With 24 % misses the 95th percentile is one, so it is at least 400 ms side by side, and
  900 ms in turn. In the first second nearly all of 5,000 requests are misses, which takes these cores some seconds to work off.
- **p95 when warm, together.** 2.6 % of the requests were for ids that were not stored, and each of those takes 400 ms. The
  sweep that warmed this cache offered 4,000 misses a second, more than the machine can load, so some of them were refused.
  The plan has a slower sweep since; with it, and less else on the machine, the p95 was 1.3 ms, and 535 ms with the cold start.
- **10,000/s.** The random schedule had 9,960 a second. At 20,000/s all were answered as well, with a p95 of 630 ms, the
  load generator and upstreams taking 0.6 of the two cores.
- **Limiter, processors.** It bounds handlers and not connections. Those that wait to be read, each with a goroutine and
  buffers, are what is left: 6,283 at most. Listeners are bounded by the system, or by a proxy in front.
`
