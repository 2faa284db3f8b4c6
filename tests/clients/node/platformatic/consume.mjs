// How one consumer of @platformatic/kafka reads: in the classic protocol and in that of KIP-848.

import { holds, refused, same } from '../cases.mjs'
import { Reader, create, withAdmin, withProducer, write } from './client.mjs'

const numbers = (first, end) => Array.from({ length: end - first }, (_, n) => `${first + n}`)

async function committed(groupId, topic, partitions) {
  const asked = [{ name: topic, partitionIndexes: [...Array(partitions).keys()] }]
  const [{ topics }] = await withAdmin(admin => admin.listConsumerGroupOffsets({
    groups: [{ groupId, topics: asked }] }))
  return topics[0].partitions.toSorted((a, b) => a.partitionIndex - b.partitionIndex)
    .map(({ committedOffset }) => committedOffset)
}

/** What a mode makes of a topic with ten messages, when five more come. */
async function modes(topic, options) {
  await create(topic, 1)
  await write(topic, 10)
  const offsets = [{ topic, partition: 0, offset: 4n }]
  const readers = {
    earliest: await new Reader(`${topic}-a`, options).start([topic], { mode: 'earliest' }),
    latest: await new Reader(`${topic}-b`, options).start([topic], { mode: 'latest' }),
    manual: await new Reader(`${topic}-c`, options).start([topic], { mode: 'manual', offsets })
  }
  await readers.latest.until(() => readers.latest.stream.offsetsToFetch.size, 'the latest offset')
  await write(topic, 5, 1, 10)
  const first = { earliest: 0, latest: 10, manual: 4 }
  for (const [mode, reader] of Object.entries(readers)) {
    await reader.count(15 - first[mode])
    await reader.stop()
    same(numbers(first[mode], 15), reader.values(), `the values of mode ${mode}`)
  }
}

/** A group goes on where it stopped, by what it committed itself. */
async function goesOnWhereItStopped(topic, options) {
  await create(topic, 2)
  await write(topic, 40, 2)
  const reader = await new Reader(topic, options).start([topic])
  await reader.count(40)
  await reader.stop()
  same([20n, 20n], await committed(topic, topic, 2), 'the committed offsets')
  await write(topic, 10, 2, 40)
  const next = await new Reader(topic, options).start([topic])
  await next.count(10)
  await next.stop()
  same(numbers(40, 50), next.values().sort(), 'the values of the next member')
}

async function commitsByHand(topic, options) {
  await create(topic, 2)
  await write(topic, 40, 2)
  const reader = await new Reader(topic, options).start([topic], { autocommit: false })
  await reader.count(40)
  await reader.messages.find(({ partition, offset }) => partition === 0 && offset === 7n).commit()
  await reader.consumer.commit({ offsets: [{ topic, partition: 1, offset: 15n, leaderEpoch: 0 }] })
  const own = await reader.consumer.listCommittedOffsets({
    topics: [{ topic, partitions: [0, 1] }] })
  await reader.stop()
  same([8n, 15n], own.get(topic), 'the committed offsets to the member')
  same([8n, 15n], await committed(topic, topic, 2), 'the committed offsets')
  const next = await new Reader(topic, options).start([topic])
  await next.count(12 + 5)
  await next.stop()
  same(12, next.messages.filter(({ partition }) => partition === 0).length, 'the rest of one')
}

async function pauseAndResume(topic, options) {
  await create(topic, 1)
  await write(topic, 10)
  const reader = await new Reader(topic, { ...options, highWaterMark: 1 }).start([topic])
  await reader.count(10)
  reader.stream.pause()
  await write(topic, 10, 1, 10)
  // A round trip of the same consumer: what was on its way before is there now.
  same([20n], (await reader.consumer.listOffsets({ topics: [topic] })).get(topic), 'the end')
  same(10, reader.messages.length, 'the messages of a paused stream')
  reader.stream.resume()
  await reader.count(20)
  await reader.stop()
  same(numbers(0, 20), reader.values(), 'the values')
}

async function endsAndTimes(topic, options) {
  await create(topic, 2)
  const first = 1_700_000_000_000n
  await withProducer({}, producer => producer.send({ messages: numbers(0, 20).map(n => (
    { topic, partition: n % 2, value: n, timestamp: first + 1000n * BigInt(n) })) }))
  const reader = await new Reader(topic, options).start([topic], { autocommit: false })
  await reader.count(20)
  const { consumer } = reader
  const at = async timestamp => (await consumer.listOffsets({ topics: [topic], timestamp }))
    .get(topic)
  same([10n, 10n], await at(-1n), 'the ends')
  same([0n, 0n], await at(-2n), 'the beginnings')
  same([5n, 5n], await at(first + 9500n), 'the offsets for a time')
  same([-1n, -1n], await at(first + 3_600_000n), 'the offsets for a time to come')
  const times = await consumer.listOffsetsWithTimestamps({ topics: [topic], timestamp: first })
  same({ offset: 0n, timestamp: first }, times.get(topic).get(0), 'an offset with its time')
  await reader.stop()
}

/** Without a fallback, a group that has committed nothing is told so. */
async function withoutOffsetsItFails(topic, options) {
  await create(topic, 1)
  const reader = new Reader(topic, options)
  await refused(async () => {
    await reader.start([topic], { mode: 'committed', fallbackMode: 'fail' })
    await reader.until(() => reader.errors.length, 'the error')
    throw reader.errors[0]
  }, 'to read from an offset that is not there')
  await reader.stop()
}

async function largeMessages(topic, options) {
  await create(topic, 1)
  const letters = 'abcdef'
  await withProducer({}, async producer => {
    for (const letter of letters) {
      await producer.send({ messages: [{ topic, value: letter.repeat(700_000) }] })
    }
  })
  const reader = await new Reader(topic, options).start([topic], { maxBytes: 100_000 })
  await reader.count(letters.length)
  await reader.stop()
  reader.values().forEach((got, number) =>
    holds(got === letters[number].repeat(700_000), `message ${number} is another`))
}

const both = { modes, 'goes-on-where-it-stopped': goesOnWhereItStopped,
  'commits-by-hand': commitsByHand, 'pause-and-resume': pauseAndResume,
  'ends-and-times': endsAndTimes, 'without-offsets-it-fails': withoutOffsetsItFails,
  'large-messages': largeMessages }

export const cases = {}
for (const [name, action] of Object.entries(both)) {
  cases[`${name}-classic`] = topic => action(topic, {})
  cases[`${name}-consumer`] = topic => action(topic, { groupProtocol: 'consumer' })
}
