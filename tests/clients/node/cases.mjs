// Runs named cases against a broker and tells of each: `passed NAME` or `failed NAME: reason`.
//
// Owns: what the programs of both JavaScript clients share: the cases' order, their time limit,
// comparing, awaiting. One process runs all cases of a client, many at a time, since a case mostly
// waits for groups to form.

import { isDeepStrictEqual, inspect } from 'node:util'
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'

const AT_ONCE = 12
const CASE_SECONDS = 90
const ASKING_SECONDS = 20

// Packages lie in an environment of their own, where imports from this file do not look.
const packages = createRequire(`${process.env.THALWEG_NODE_ENV}/package.json`)

export async function load(name) {
  return import(pathToFileURL(packages.resolve(name)))
}

export function same(expected, got, what) {
  if (!isDeepStrictEqual(expected, got)) {
    throw new Error(`${what} should be ${inspect(expected)}, is ${inspect(got)}`)
  }
}

/** Asks again until the answer is `expected`: Kafka answers a change before it is seen. */
export async function becomes(expected, ask, what) {
  const deadline = Date.now() + ASKING_SECONDS * 1000
  for (;;) {
    const got = await ask().catch(error => error)
    if (isDeepStrictEqual(expected, got)) return
    if (Date.now() > deadline) same(expected, got, what)
  }
}

export function holds(condition, what) {
  if (!condition) throw new Error(what)
}

/** The error that `action` must end with. */
export async function refused(action, what) {
  try {
    await action()
  } catch (error) {
    return error
  }
  throw new Error(`${what} was not refused`)
}

/** Something that is awaited, and told by calls of `look` whenever it may have come true. */
export class Awaited {
  #waiting = []

  /** Ends when `isTrue` does, which is asked now and at every `look`. */
  until(isTrue, what) {
    return within(CASE_SECONDS - 30, what, new Promise(resolve => {
      this.#waiting.push({ isTrue, resolve })
      this.look()
    }))
  }

  look() {
    this.#waiting = this.#waiting.filter(({ isTrue, resolve }) => {
      const done = isTrue()
      if (done) resolve()
      return !done
    })
  }
}

export async function within(seconds, what, promise) {
  let timer
  const late = new Promise((resolve, reject) => {
    const tell = () => {
      const missed = typeof what === 'function' ? what() : what
      reject(new Error(`within ${seconds} s it did not come: ${missed}`))
    }
    timer = setTimeout(tell, seconds * 1000)
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}

/** Three readers come one by one and go in another order: each step, and who is there after it. */
export function comingAndGoing([first, second, third], topic) {
  return [
    { action: () => first.start([topic]), present: [first] },
    { action: () => second.start([topic]), present: [first, second] },
    { action: () => third.start([topic]), present: [first, second, third] },
    { action: () => first.stop(), present: [second, third] },
    { action: () => third.stop(), present: [second] }
  ]
}

/** `cases`: functions of a name for topics and groups, by the name of the case. */
export async function run(client, cases) {
  const chosen = process.argv.slice(3)
  const waiting = Object.entries(cases).filter(([name]) => !chosen.length || chosen.includes(name))
  async function worker() {
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      const [name, action] = next
      // Not the names of another run against the same broker.
      const own = `${client}-${process.pid}-${name}`
      try {
        await within(CASE_SECONDS, 'the end of the case', action(own))
        console.log(`passed ${name}`)
      } catch (error) {
        console.log(`failed ${name}: ${error.message.replaceAll('\n', ' ')}`)
        console.error(`${name}: ${error.stack}`)
      }
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, worker))
  // A client that a failed case left open must not keep the process.
  process.exit(0)
}
