//go:build linux

package main

// why says what was found about the bars that the committed run missed.
const why = `Why, in the run that is committed:

- **Pool at 5,000/s.** 15,000 upstream calls a second are more than two cores carry, with either client, so both have a
  queue that grows, and its length is the latency. The naive service uses up its 20,000 file descriptors and fails two
  of three requests at once; the pool answers four times as many. What is left of the mean varies: three runs on one day
  gave 35, 46 and 55 % plain and 56, 44 and 55 % with TLS. At 3,000/s, which the pool can serve and the default client
  cannot, it was 67, 62 and 62 %.
- **Side by side at 5,000/s.** Without pool or cache this is overload too, and what is over the slowest call is time that a
  page waits for a processor. One run missed the bar by 0.4 %, two held it.
- **Pool at 200/s.** On loopback a dial takes 0.1 ms and has no round trip to wait for, so calls of 300 ms show nothing of
  it. What is saved there is work: three quarters of the connections, and with TLS more than a third of the service's CPU time.
- **p95, cold start included.** With 24 % misses the 95th percentile is one, so it is at least 400 ms side by side, and
  900 ms in turn. In the first second nearly all of 5,000 requests are misses, which takes these cores a while to work off.
- **10,000/s.** The random schedule had 9,960 a second. At 20,000/s 19,990 were answered well, with a p95 of 1.8 ms, the
  load generator and upstreams taking a quarter of the two cores. The collector's share is 3 to 5 %: what is allocated
  belongs to net/http's requests, and the heap of a cache that is far from full is small.
- **Limiter, processors.** It bounds handlers and not connections. Those that wait to be read, each with a goroutine and
  buffers, are what is left: 6,911 at most. Listeners are bounded by the system, or by a proxy in front.
`
