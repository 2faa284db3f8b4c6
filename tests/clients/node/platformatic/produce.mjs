// What @platformatic/kafka writes comes back as it was.

import { holds, refused, same } from '../cases.mjs'
import { create, read, withProducer } from './client.mjs'

const RECORDS = 200
const FIRST_TIMESTAMP = 1_700_000_000_000n
// zstd needs a newer Node.js than the oldest that this client runs on.
const CODECS = ['none', 'gzip', 'snappy', 'lz4']

function message(topic, number) {
  return {
    topic,
    partition: 0,
    key: `key-${number}`,
    value: `value-${number}` + 'x'.repeat(number % 300),
    timestamp: FIRST_TIMESTAMP + BigInt(number),
    headers: { number: `${number}`, other: 'one' }
  }
}

async function roundTrip(topic, compression, acks, idempotent) {
  await create(topic, 1)
  const answers = []
  await withProducer({ idempotent }, async producer => {
    for (let first = 0; first < RECORDS; first += 50) {
      const messages = Array.from({ length: 50 }, (_, n) => message(topic, first + n))
      answers.push(await producer.send({ messages, acks, compression }))
    }
  })
  if (acks === 0) {
    answers.forEach(answer => same(undefined, answer.offsets, 'the offsets told'))
  } else {
    const told = answers.map(({ offsets }) => offsets[0].offset)
    same([0n, 50n, 100n, 150n], told, 'the offsets that were told')
  }
  const messages = await read(topic, RECORDS)
  messages.forEach((got, number) => {
    const sent = message(topic, number)
    same(BigInt(number), got.offset, 'the offset')
    same([sent.key, sent.value], [got.key, got.value], 'key and value')
    same(sent.timestamp, got.timestamp, 'the timestamp')
    same(sent.headers, Object.fromEntries(got.headers), 'the headers')
  })
}

async function partitionsKeepTheirOrder(topic) {
  const partitions = 6
  await create(topic, partitions)
  // Not idempotent: sends of this client at once would have the same sequence numbers.
  await withProducer({}, async producer => {
    const sent = Array.from({ length: 60 }, (_, batch) => producer.send({
      messages: Array.from({ length: 30 }, (_, n) => (
        { topic, partition: n % partitions, value: `${batch}-${n}` }))
    }))
    await Promise.all(sent)
  })
  const next = Array(partitions).fill(0n)
  const messages = await read(topic, 60 * 30)
  messages.forEach(({ partition, offset }) => same(next[partition]++, offset, 'the next offset'))
  same(60 * 30, new Set(messages.map(({ value }) => value)).size, 'the different values')
}

async function streamOfMessages(topic) {
  await create(topic, 3)
  await withProducer({}, async producer => {
    const stream = producer.asStream({ batchSize: 100, batchTime: 20, reportMode: 'batch' })
    let told = 0
    stream.on('delivery-report', report => { told += report.count })
    for (let n = 0; n < 1000; n++) stream.write({ topic, key: `${n}`, value: `${n}` })
    await stream.close()
    same(1000, told, 'the messages that were told')
  })
  const values = new Set((await read(topic, 1000)).map(({ value }) => value))
  same(1000, values.size, 'the different values')
}

async function topicAppears(topic) {
  await withProducer({ autocreateTopics: true, retries: 10 }, producer =>
    producer.send({ messages: [{ topic, value: 'first' }] }))
  same('first', (await read(topic, 1))[0].value, 'the value')
}

async function topicDoesNotAppear(topic) {
  await withProducer({ autocreateTopics: false, retries: 0 }, async producer => {
    const error = await refused(() => producer.send({ messages: [{ topic, value: 'first' }] }),
      'a topic that is not there')
    holds(/^Unknown topic/.test(error.message), `the error is ${error.stack}`)
  })
}

async function nulls(topic) {
  await create(topic, 1)
  await withProducer({}, producer => producer.send({
    compression: 'gzip',
    messages: [{ topic, value: 'no key' }, { topic, key: 'tombstone' },
      { topic, key: '', value: '' }]
  }))
  const [first, second, third] = await read(topic, 3)
  same([true, 'no key'], [first.key == null, first.value], 'the first')
  same(['tombstone', true], [second.key, second.value == null], 'the second')
  same(['', ''], [third.key, third.value], 'the third')
}

async function tooLarge(topic) {
  await create(topic, 1)
  await withProducer({ retries: 0 }, async producer => {
    const messages = [{ topic, value: 'x'.repeat(2 * 1024 * 1024) }]
    const error = await refused(() => producer.send({ messages }), 'two megabytes')
    holds(error.findBy?.('apiId', 'MESSAGE_TOO_LARGE'), `the error is ${error.stack}`)
    await producer.send({ messages: [{ topic, value: 'small' }] })
  })
  same('small', (await read(topic, 1))[0].value, 'what is there')
}

export const cases = {
  'partitions-keep-their-order': partitionsKeepTheirOrder,
  'stream-of-messages': streamOfMessages,
  'topic-appears': topicAppears,
  'topic-does-not-appear': topicDoesNotAppear,
  'null-key-and-null-value': nulls,
  'too-large': tooLarge
}
for (const codec of CODECS) {
  for (const [name, acks] of [['0', 0], ['1', 1], ['all', -1]]) {
    cases[`round-trip-${codec}-acks-${name}`] = topic => roundTrip(topic, codec, acks, false)
  }
  cases[`idempotent-${codec}`] = topic => roundTrip(topic, codec, -1, true)
}
