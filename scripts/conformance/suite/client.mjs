// node client.mjs list                   the tests of the suite, as JSON
// node client.mjs run URL                what each of them says of the cache at URL, as JSON
// node client.mjs alone URL TEST...      the same for single tests, one after the other
import process from 'node:process'
import fetch from 'node-fetch'
import { runTests, getResults } from 'http-cache-tests/client/runner.mjs'
import sections from 'http-cache-tests/tests/index.mjs'

const [command, url, ...ids] = process.argv.slice(2)

if (command === 'list') {
  const list = sections.map(section => ({
    id: section.id,
    name: section.name,
    tests: section.tests
      .filter(test => !test.browser_only)
      .map(test => ({ id: test.id, name: test.name, kind: test.kind ?? 'required', depends_on: test.depends_on ?? [] }))
  }))
  console.log(JSON.stringify(list))
} else {
  const chosen = command === 'run'
    ? sections
    : sections.map(section => ({ ...section, tests: section.tests.filter(test => ids.includes(test.id)) }))
  await runTests(chosen, fetch, false, url, command === 'run' ? 100 : 1)
  // A test that passed has true, another one an array of kind and message.
  const results = {}
  for (const [id, result] of Object.entries(getResults())) {
    results[id] = result === true ? {} : { kind: result[0], message: result[1] }
  }
  console.log(JSON.stringify(results))
}
