// @platformatic/kafka and the few calls that all of its cases need.

import { Awaited, becomes, load, same } from '../cases.mjs'

export const platformatic = await load('@platformatic/kafka')

const common = { clientId: 'thalweg-test', bootstrapBrokers: [process.argv[2]] }
const { Admin, Consumer, Producer, stringDeserializers, stringSerializers } = platformatic

async function withClient(client, use) {
  try {
    return await use(client)
  } finally {
    await client.close()
  }
}

export function withProducer(options, use) {
  return withClient(new Producer({ ...common, serializers: stringSerializers, ...options }), use)
}

export function withAdmin(use, options) {
  return withClient(new Admin({ ...common, ...options }), use)
}

export async function create(topic, partitions, configs) {
  await withAdmin(async admin => {
    await admin.createTopics({ topics: [topic], partitions, replicas: 1, configs })
    await becomes(partitions, async () => {
      const metadata = await admin.metadata({ topics: [topic], forceUpdate: true })
      return metadata.topics.get(topic).partitions.filter(({ leader }) => leader >= 0).length
    }, 'the partitions with a leader')
    // What the metadata names as a leader may still have to learn that it is.
    const every = Array.from({ length: partitions }, (_, partitionIndex) => (
      { partitionIndex, timestamp: -1n }))
    const topics = [{ name: topic, partitions: every }]
    await becomes(1, async () => (await admin.listOffsets({ topics })).length, 'the ends')
  })
}

/** Writes the numbers below `count` as values, number n to partition n modulo `partitions`. */
export async function write(topic, count, partitions = 1, from = 0) {
  const messages = Array.from({ length: count }, (_, number) => (
    { topic, value: `${from + number}`, partition: number % partitions }))
  await withProducer({ idempotent: true }, producer => producer.send({ messages, acks: -1 }))
}

/** A consumer whose messages are kept; `options` go to the consumer. */
export class Reader extends Awaited {
  messages = []
  shares = []
  errors = []

  constructor(groupId, options = {}) {
    super()
    const classic = { sessionTimeout: 10000, heartbeatInterval: 300, rebalanceTimeout: 15000 }
    this.consumer = new Consumer({
      ...common, groupId, deserializers: stringDeserializers, maxWaitTime: 200,
      ...(options.groupProtocol === 'consumer' ? {} : classic), ...options
    })
    for (const event of ['consumer:group:join', 'consumer:group:rebalance']) {
      this.consumer.on(event, () => this.look())
    }
  }

  async start(topics, options = {}) {
    this.stream = await this.consumer.consume({
      topics, mode: 'committed', fallbackMode: 'earliest', autocommit: true, ...options
    })
    this.stream.on('data', message => {
      this.messages.push(message)
      this.look()
    })
    this.stream.on('error', error => {
      this.errors.push(error)
      this.look()
    })
    return this
  }

  /** As many messages as `count`, once they are there. */
  async count(count) {
    await this.until(() => this.messages.length >= count || this.errors.length,
      () => `${count} messages of ${this.messages.length} until now`)
    same([], this.errors, 'the errors')
    return this.messages
  }

  values() {
    return this.messages.map(({ value }) => value)
  }

  share(topic) {
    const own = this.consumer.assignments?.find(each => each.topic === topic)
    return own?.partitions.toSorted() ?? []
  }

  async stop() {
    await this.stream?.close()
    await this.consumer.close(true)
  }
}

/** Everything in a topic, read by a group of its own. */
export async function read(topic, count, options, consuming) {
  const reader = await new Reader(`${topic}-readers`, options).start([topic], consuming)
  try {
    const messages = await reader.count(count)
    same(count, messages.length, 'the number of messages')
    return messages
  } finally {
    await reader.stop()
  }
}
