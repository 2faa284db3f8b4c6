// kafkajs with the codecs that users plug into it, and the few calls that all of its cases need.

import { Awaited, becomes, load, same } from '../cases.mjs'

const kafkajs = (await load('kafkajs')).default
const snappy = (await load('kafkajs-snappy')).default
const LZ4 = (await load('@2l/kafkajs-lz4')).default
const zstd = await load('@bokuweb/zstd-wasm')

export const { CompressionTypes, Kafka, KafkaJSProtocolError, Partitioners, logLevel } = kafkajs
export const { AclOperationTypes, AclPermissionTypes, AclResourceTypes } = kafkajs
export const { ConfigResourceTypes, ResourcePatternTypes } = kafkajs

kafkajs.CompressionCodecs[CompressionTypes.Snappy] = snappy
kafkajs.CompressionCodecs[CompressionTypes.LZ4] = new (LZ4.default ?? LZ4)().codec
await zstd.init()
kafkajs.CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async encoder => Buffer.from(zstd.compress(encoder.buffer, 3)),
  decompress: async bytes => Buffer.from(zstd.decompress(bytes))
})

const settings = {
  clientId: 'thalweg-test', brokers: [process.argv[2]], logLevel: logLevel.NOTHING
}

export const kafka = new Kafka(settings)
/** One that bears a broker which is away for longer, and notices soon that it is back. */
export const patient = new Kafka({ ...settings, retry: { retries: 100, maxRetryTime: 1000 } })

export async function withProducer(options, use, client = kafka) {
  const producer = client.producer({
    createPartitioner: Partitioners.DefaultPartitioner, ...options
  })
  await producer.connect()
  try {
    return await use(producer)
  } finally {
    await producer.disconnect()
  }
}

export async function withAdmin(use, options) {
  const admin = kafka.admin(options)
  await admin.connect()
  try {
    return await use(admin)
  } finally {
    await admin.disconnect()
  }
}

export async function create(topic, partitions) {
  const topics = [{ topic, numPartitions: partitions, replicationFactor: 1 }]
  await withAdmin(admin => makeTopics(admin, topics))
}

/** Kafka answers before its brokers know the topics, and `waitForLeaders` does not bear that. */
export async function makeTopics(admin, topics) {
  same(true, await admin.createTopics({ topics, waitForLeaders: false }), 'the creation')
  const names = topics.map(({ topic }) => topic)
  await becomes(true, async () => {
    const found = await admin.fetchTopicMetadata({ topics: names })
    return found.topics.every(({ partitions }) => partitions.every(({ leader }) => leader >= 0))
  }, 'every partition has a leader')
  // What the metadata names as a leader may still have to learn that it is.
  for (const name of names) {
    await becomes(true, async () => (await admin.fetchTopicOffsets(name)).length > 0, 'the ends')
  }
}

/** Writes the numbers below `count` as values, number n to partition n modulo `partitions`. */
export async function write(topic, count, partitions = 1) {
  const messages = Array.from({ length: count }, (_, number) => (
    { value: `${number}`, partition: number % partitions }))
  await withProducer({}, producer => producer.send({ topic, messages }))
}

/** A consumer whose messages are kept; `options` go to the consumer, `running` to its run. */
export class Reader extends Awaited {
  messages = []
  joins = []

  constructor(groupId, options = {}, client = kafka) {
    super()
    this.consumer = client.consumer({
      groupId, heartbeatInterval: 300, sessionTimeout: 10000, maxWaitTimeInMs: 200, ...options
    })
    this.consumer.on('consumer.group_join', ({ payload }) => {
      this.joins.push(payload)
      this.look()
    })
  }

  async start(topics, running = {}, fromBeginning = true) {
    await this.consumer.connect()
    await this.consumer.subscribe({ topics, fromBeginning })
    await this.consumer.run({
      eachMessage: async payload => this.take(payload), ...running
    })
    return this
  }

  take({ topic, partition, message }) {
    this.messages.push({ topic, partition, ...message })
    this.look()
  }

  /** As many messages as `count`, once they are there. */
  async count(count) {
    await this.until(() => this.messages.length >= count,
      () => `${count} messages of ${this.messages.length} until now`)
    return this.messages
  }

  async joined(times = 1) {
    await this.until(() => this.joins.length >= times, `join number ${times}`)
  }

  values() {
    return this.messages.map(message => message.value.toString())
  }

  stop() {
    return this.consumer.disconnect()
  }
}

/** Everything in a topic, read by a group of its own. */
export async function read(topic, count, options) {
  const reader = await new Reader(`${topic}-readers`, options).start([topic])
  try {
    const messages = await reader.count(count)
    same(count, messages.length, 'the number of messages')
    return messages
  } finally {
    await reader.stop()
  }
}
