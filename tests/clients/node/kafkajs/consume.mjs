// How one consumer of kafkajs reads: from where, how far, what it skips and what it commits.

import { holds, same } from '../cases.mjs'
import { Reader, create, kafka, withAdmin, write } from './client.mjs'

const numbers = (first, end) => Array.from({ length: end - first }, (_, n) => `${first + n}`)

async function committed(groupId, topic) {
  const asked = { groupId, topics: [topic] }
  const [{ partitions }] = await withAdmin(admin => admin.fetchOffsets(asked))
  return partitions.map(({ offset }) => offset)
}

/** Without an offset of its own, a group starts at the end unless it asks for the beginning. */
async function startsWhereAsked(topic) {
  await create(topic, 1)
  await write(topic, 10)
  const reader = await new Reader(`${topic}-end`).start([topic], {}, false)
  await reader.joined()
  // The first fetch decides where the end is.
  await new Promise(resolve => reader.consumer.on('consumer.fetch', resolve))
  await write(topic, 3)
  const messages = await reader.count(3)
  await reader.stop()
  same(['10', '11', '12'], messages.map(message => message.offset), 'the offsets from the end')
}

async function seekGoesBothWays(topic) {
  await create(topic, 1)
  await write(topic, 100)
  const reader = new Reader(topic)
  let hasGoneBack = false
  await reader.start([topic], {
    eachMessage: async payload => {
      reader.take(payload)
      if (payload.message.offset === '99' && !hasGoneBack) {
        hasGoneBack = true
        reader.consumer.seek({ topic, partition: 0, offset: '40' })
      }
    }
  })
  await reader.count(160)
  await reader.stop()
  same([...numbers(0, 100), ...numbers(40, 100)], reader.values(), 'the values')
}

/** An offset behind the end is out of range: the client asks for the beginning again. */
async function outOfRangeStartsAgain(topic) {
  await create(topic, 1)
  await write(topic, 10)
  const reader = new Reader(topic)
  await reader.start([topic])
  reader.consumer.seek({ topic, partition: 0, offset: '5000' })
  await reader.until(() => reader.values().slice(-10).join() === numbers(0, 10).join(),
    'all values from the beginning')
  await reader.stop()
}

async function pauseAndResume(topic) {
  const other = `${topic}-other`
  await create(topic, 2)
  await create(other, 1)
  const reader = await new Reader(topic).start([topic, other])
  await reader.joined()
  reader.consumer.pause([{ topic, partitions: [1] }])
  await write(topic, 20, 2)
  await write(other, 5)
  await reader.count(15)
  await write(other, 5)
  await reader.count(20)
  const isPaused = message => message.topic === topic && message.partition === 1
  holds(!reader.messages.some(isPaused), 'a message of a paused partition came')
  same([{ topic, partitions: [1] }], reader.consumer.paused(), 'what is paused')
  reader.consumer.resume([{ topic, partitions: [1] }])
  await reader.count(30)
  await reader.stop()
  const resumed = reader.messages.filter(isPaused)
  same(numbers(0, 20).filter(n => n % 2), resumed.map(got => `${got.value}`), 'the resumed values')
}

async function eachBatchResolvesAndCommits(topic) {
  await create(topic, 1)
  await write(topic, 50)
  const reader = new Reader(topic)
  await reader.start([topic], {
    eachBatchAutoResolve: false,
    partitionsConsumedConcurrently: 2,
    eachBatch: async ({ batch, resolveOffset, heartbeat, commitOffsetsIfNecessary }) => {
      same('50', batch.highWatermark, 'the high watermark')
      for (const message of batch.messages) {
        // What is not resolved is read again by the next run.
        if (Number(message.offset) >= 30) break
        reader.take({ topic, partition: batch.partition, message })
        resolveOffset(message.offset)
        await heartbeat()
      }
      await commitOffsetsIfNecessary()
    }
  })
  await reader.count(30)
  await reader.stop()
  same(numbers(0, 30), reader.values(), 'what was resolved')
  same(['30'], await committed(topic, topic), 'the committed offset')
  const next = await new Reader(topic).start([topic])
  await next.count(20)
  await next.stop()
  same(numbers(30, 50), next.values(), 'what the next member reads')
}

async function commitsByHand(topic) {
  await create(topic, 2)
  await write(topic, 40, 2)
  const reader = await new Reader(topic).start([topic], { autoCommit: false })
  await reader.count(40)
  await reader.consumer.commitOffsets([
    { topic, partition: 0, offset: '7', metadata: 'seven of twenty' },
    { topic, partition: 1, offset: '20' }
  ])
  await reader.stop()
  const [{ partitions }] = await withAdmin(admin =>
    admin.fetchOffsets({ groupId: topic, topics: [topic] }))
  same([['7', 'seven of twenty'], ['20', '']], partitions.sort((a, b) => a.partition - b.partition)
    .map(({ offset, metadata }) => [offset, metadata ?? '']), 'what is committed')
  const next = await new Reader(topic).start([topic])
  await next.count(13)
  await next.stop()
  same(numbers(14, 40).filter(n => n % 2 === 0), next.values(), 'what is read from there on')
}

async function subscribesByPattern(topic) {
  for (const name of ['a', 'b']) {
    await create(`${topic}-${name}`, 1)
    await write(`${topic}-${name}`, 5)
  }
  const reader = await new Reader(topic).start([new RegExp(`^${topic}-.$`)])
  await reader.count(10)
  await reader.stop()
  const topics = [...new Set(reader.messages.map(message => message.topic))].sort()
  same([`${topic}-a`, `${topic}-b`], topics, 'the topics')
}

/** More than one fetch can carry, and messages larger than a fetch may be. */
async function largeMessages(topic) {
  await create(topic, 1)
  const producer = kafka.producer({ maxInFlightRequests: 1 })
  await producer.connect()
  for (let number = 0; number < 6; number++) {
    await producer.send({ topic, messages: [{ value: Buffer.alloc(700_000, number) }] })
  }
  await producer.disconnect()
  const reader = new Reader(topic, { maxBytesPerPartition: 100_000, maxBytes: 1_000_000 })
  await reader.start([topic])
  const messages = await reader.count(6)
  await reader.stop()
  messages.forEach((got, number) =>
    holds(got.value.equals(Buffer.alloc(700_000, number)), `message ${number} is another`))
}

export const cases = {
  'starts-where-asked': startsWhereAsked,
  'seek-goes-both-ways': seekGoesBothWays,
  'out-of-range-starts-again': outOfRangeStartsAgain,
  'pause-and-resume': pauseAndResume,
  'each-batch-resolves-and-commits': eachBatchResolvesAndCommits,
  'commits-by-hand': commitsByHand,
  'subscribes-by-pattern': subscribesByPattern,
  'large-messages': largeMessages
}
