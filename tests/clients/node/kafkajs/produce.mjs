// What kafkajs writes comes back as it was: every codec, every kind of acknowledgement.

import { holds, refused, same } from '../cases.mjs'
import { CompressionTypes, create, read, withProducer } from './client.mjs'

const RECORDS = 200
const FIRST_TIMESTAMP = 1_700_000_000_000
const CODECS = { none: 'None', gzip: 'GZIP', snappy: 'Snappy', lz4: 'LZ4', zstd: 'ZSTD' }

function message(number) {
  return {
    partition: 0,
    key: `key-${number}`,
    value: `value-${number}` + 'x'.repeat(number % 300),
    timestamp: `${FIRST_TIMESTAMP + number}`,
    headers: { number: `${number}`, twice: ['one', 'two'] }
  }
}

async function roundTrip(topic, codec, acks, idempotent) {
  await create(topic, 1)
  const options = { idempotent, maxInFlightRequests: idempotent ? 1 : 5 }
  const compression = CompressionTypes[CODECS[codec]]
  const answers = []
  await withProducer(options, async producer => {
    for (let first = 0; first < RECORDS; first += 50) {
      const messages = Array.from({ length: 50 }, (_, number) => message(first + number))
      answers.push(await producer.send({ topic, acks, compression, messages }))
    }
  })
  const told = answers.map(answer => acks === 0 ? answer : answer[0].baseOffset)
  const none = [undefined, undefined, undefined, undefined]
  const empty = [[], [], [], []]
  if (acks !== 0) same(['0', '50', '100', '150'], told, 'the offsets that were told')
  else holds([none, empty].some(nothing => `${nothing}` === `${told}`), `answered ${told}`)
  const messages = await read(topic, RECORDS)
  messages.forEach((got, number) => {
    const sent = message(number)
    same(`${number}`, got.offset, 'the offset')
    same(sent.key, got.key.toString(), 'the key')
    same(sent.value, got.value.toString(), 'the value')
    same(sent.timestamp, got.timestamp, 'the timestamp')
    same(sent.headers.number, got.headers.number.toString(), 'a header')
    same(sent.headers.twice, got.headers.twice.map(String), 'a header with two values')
  })
}

async function partitionsKeepTheirOrder(topic) {
  const partitions = 6
  await create(topic, partitions)
  await withProducer({ idempotent: true, maxInFlightRequests: 5 }, async producer => {
    const sent = Array.from({ length: 60 }, (_, batch) => producer.send({
      topic,
      messages: Array.from({ length: 30 }, (_, number) => (
        { partition: number % partitions, value: `${batch}-${number}` }))
    }))
    await Promise.all(sent)
  })
  const next = Array(partitions).fill(0)
  const seen = new Set()
  for (const { partition, offset, value } of await read(topic, 60 * 30)) {
    same(`${next[partition]++}`, offset, 'the next offset')
    seen.add(value.toString())
  }
  same(60 * 30, seen.size, 'the number of different values')
  same(Array(partitions).fill(300), next, 'the ends of the partitions')
}

async function topicAppears(topic) {
  await withProducer({ allowAutoTopicCreation: true }, producer =>
    producer.send({ topic, messages: [{ value: 'first' }] }))
  same('first', (await read(topic, 1))[0].value.toString(), 'the value')
}

async function topicDoesNotAppear(topic) {
  await withProducer({ allowAutoTopicCreation: false, retry: { retries: 0 } }, async producer => {
    const error = await refused(() => producer.send({ topic, messages: [{ value: 'first' }] }),
      'a topic that is not there')
    same('UNKNOWN_TOPIC_OR_PARTITION', (error.cause ?? error).type, 'the error')
  })
}

async function manyTopicsInOneCall(topic) {
  const topics = [`${topic}-a`, `${topic}-b`]
  for (const name of topics) await create(name, 2)
  await withProducer({}, async producer => {
    const answers = await producer.sendBatch({
      topicMessages: topics.map(name => ({
        topic: name,
        messages: [{ partition: 0, value: 'zero' }, { partition: 1, value: 'one' }]
      }))
    })
    same(4, answers.length, 'the number of answers')
    answers.forEach(answer => same([0, '0'], [answer.errorCode, answer.baseOffset], 'an answer'))
  })
  for (const name of topics) {
    const values = (await read(name, 2)).map(got => `${got.partition} ${got.value}`)
    same(['0 zero', '1 one'], values.sort(), 'the values')
  }
}

async function nulls(topic) {
  await create(topic, 1)
  await withProducer({}, producer => producer.send({
    topic,
    compression: CompressionTypes.GZIP,
    messages: [{ value: 'no key' }, { key: 'tombstone', value: null }, { key: '', value: '' }]
  }))
  const [first, second, third] = await read(topic, 3)
  same([null, 'no key'], [first.key, first.value.toString()], 'the first')
  same(['tombstone', null], [second.key.toString(), second.value], 'the second')
  same([0, 0], [third.key.length, third.value.length], 'the third')
}

async function tooLarge(topic) {
  await create(topic, 1)
  await withProducer({ retry: { retries: 0 } }, async producer => {
    const messages = [{ value: Buffer.alloc(2 * 1024 * 1024, 1) }]
    const error = await refused(() => producer.send({ topic, messages }), 'two megabytes')
    same('MESSAGE_TOO_LARGE', error.type, 'the error')
    await producer.send({ topic, messages: [{ value: 'small' }] })
  })
  same('small', (await read(topic, 1))[0].value.toString(), 'what is there')
}

export const cases = {
  'partitions-keep-their-order': partitionsKeepTheirOrder,
  'topic-appears': topicAppears,
  'topic-does-not-appear': topicDoesNotAppear,
  'many-topics-in-one-call': manyTopicsInOneCall,
  'null-key-and-null-value': nulls,
  'too-large': tooLarge
}
for (const codec of Object.keys(CODECS)) {
  for (const [name, acks] of [['0', 0], ['1', 1], ['all', -1]]) {
    cases[`round-trip-${codec}-acks-${name}`] = topic => roundTrip(topic, codec, acks, false)
  }
  cases[`idempotent-${codec}`] = topic => roundTrip(topic, codec, -1, true)
}
