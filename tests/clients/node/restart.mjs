// Both clients of Node.js go on when the broker goes away and comes back.
//
// Argument: HOST:PORT. Writes with one idempotent producer of each client, one record after the
// other; a group of kafkajs reads at the same time, groups of @platformatic/kafka in both
// protocols at the end. Tells `written N` of every client that is another ten records further; ends
// when standard input does: then it checks what came, and tells `every record came`.

import { createInterface } from 'node:readline'
import { same } from './cases.mjs'
import * as old from './kafkajs/client.mjs'
import * as young from './platformatic/client.mjs'

const PARTITIONS = 3
let isOver = false

/** Calls `send` with number after number, each until it is acknowledged; tells how many. */
async function writeNumbers(name, send) {
  let number = 0
  for (; !isOver; number++) {
    await send({ partition: number % PARTITIONS, value: `${number}` })
    if (number % 10 === 9) console.log(`written ${name} ${number + 1}`)
  }
  return number
}

/** Every record is in the log once, in the order of its partition, and came to every reader. */
async function came(readers, count) {
  for (const reader of readers) {
    // A reader whose commit was lost with its connection may read a record again.
    const distinct = () => new Map(reader.messages.map(({ partition, offset, value }) =>
      [`${partition} ${offset}`, Number(value)]))
    await reader.until(() => distinct().size >= count,
      () => `${count} records of ${distinct().size}`)
    const expected = Array.from({ length: count }, (_, number) => (
      [`${number % PARTITIONS} ${Math.floor(number / PARTITIONS)}`, number]))
    same(expected, [...distinct()].sort(([, one], [, other]) => one - other), 'what came')
    await reader.stop()
  }
}

async function kafkajs() {
  const topic = 'kafkajs-restart'
  await old.create(topic, PARTITIONS)
  const reader = await new old.Reader(topic, {}, old.patient).start([topic])
  const options = { idempotent: true, maxInFlightRequests: 1 }
  const count = await old.withProducer(options, producer => writeNumbers('kafkajs',
    message => producer.send({ topic, messages: [message] })), old.patient)
  await came([reader], count)
}

async function platformatic() {
  const topic = 'platformatic-restart'
  await young.create(topic, PARTITIONS)
  const options = { idempotent: true, retries: 600, retryDelay: 100 }
  const count = await young.withProducer(options, producer => writeNumbers('platformatic',
    message => producer.send({ messages: [{ topic, ...message }] })))
  // Its readers end when Kafka, which is back, answers that it does not lead a partition yet.
  const readers = [new young.Reader(`${topic}-classic`),
    new young.Reader(`${topic}-consumer`, { groupProtocol: 'consumer' })]
  for (const reader of readers) await reader.start([topic])
  await came(readers, count)
}

createInterface({ input: process.stdin }).on('close', () => { isOver = true })
await Promise.all([kafkajs(), platformatic()])
console.log('every record came')
process.exit(0)
