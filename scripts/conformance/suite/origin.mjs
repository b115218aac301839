// The suite's origin server, on a free port of loopback; the suite's own main
// program listens on all interfaces. Prints the port, and ends when its
// standard input does.
import http from 'node:http'
import handleConfig from 'http-cache-tests/server/handle-config.mjs'
import handleState from 'http-cache-tests/server/handle-state.mjs'
import handleTest from 'http-cache-tests/server/handle-test.mjs'

const handlers = { config: handleConfig, state: handleState, test: handleTest }

const server = http.createServer((request, response) => {
  const [, dispatch, ...segments] = new URL(request.url, 'http://localhost/').pathname.split('/')
  const handle = handlers[dispatch]
  if (handle) {
    handle(segments, request, response)
  } else {
    response.statusCode = 404
    response.end()
  }
})
console.log = console.error // what the handlers have to say is no port
server.listen(0, '127.0.0.1', () => process.stdout.write(`${server.address().port}\n`))
process.stdin.on('end', () => process.exit()).resume()
