// Groups of kafkajs whose members come, go and die.

import { comingAndGoing, holds, same } from '../cases.mjs'
import { Reader, create, withAdmin, withProducer } from './client.mjs'

const PARTITIONS = 6

/** The partitions that a member was given by its last join. */
function share(reader, topic) {
  return reader.joins.at(-1)?.memberAssignment[topic] ?? []
}

function isShared(readers, topic) {
  const all = readers.flatMap(reader => share(reader, topic)).sort()
  return all.join() === [0, 1, 2, 3, 4, 5].join() &&
    readers.every(reader => share(reader, topic).length === PARTITIONS / readers.length)
}

async function settled(readers, topic) {
  const [first, ...others] = readers
  const look = () => first.look()
  others.forEach(reader => reader.consumer.on('consumer.group_join', look))
  await first.until(() => isShared(readers, topic), `${readers.length} members share evenly`)
}

/** Members come one by one and go in another order; every record is delivered. */
async function membersComeAndGo(topic) {
  await create(topic, PARTITIONS)
  const readers = Array.from({ length: 3 }, () => new Reader(topic))
  let sent = 0
  const delivered = () => {
    const all = readers.flatMap(reader => reader.messages)
    return new Set(all.map(message => `${message.partition} ${message.offset}`)).size
  }
  // Idempotent, for what is written twice would be delivered twice.
  await withProducer({ idempotent: true }, async producer => {
    async function write() {
      const messages = Array.from({ length: 60 }, (_, n) => (
        { partition: n % PARTITIONS, value: `${sent + n}` }))
      await producer.send({ topic, messages })
      sent += 60
    }
    for (const { action, present } of comingAndGoing(readers, topic)) {
      await write()
      await action()
      await settled(present, topic)
      await write()
      const [first, ...others] = present
      others.forEach(reader => reader.consumer.on('consumer.end_batch_process',
        () => first.look()))
      await first.until(() => delivered() === sent,
        () => `${sent} records of ${delivered()}`)
    }
  })
  await readers[1].stop()
  // Whoever goes in good order has committed what it read.
  const [{ partitions }] = await withAdmin(admin =>
    admin.fetchOffsets({ groupId: topic, topics: [topic] }))
  same(Array(PARTITIONS).fill(`${sent / PARTITIONS}`), partitions.map(({ offset }) => offset),
    'the committed offsets')
}

/** A group is listed and described while it works, refuses to be deleted, and then is gone. */
async function isListedDescribedAndDeleted(topic) {
  await create(topic, 2)
  const reader = await new Reader(topic).start([topic])
  await reader.joined()
  await withAdmin(async admin => {
    const { groups } = await admin.listGroups()
    same([{ groupId: topic, protocolType: 'consumer' }],
      groups.filter(group => group.groupId === topic), 'the group in the list')
    const described = await admin.describeGroups([topic, `${topic}-none`])
    const [group, none] = described.groups
    same(['Stable', 'consumer', 'RoundRobinAssigner'],
      [group.state, group.protocolType, group.protocol], 'the group')
    same(reader.joins[0].memberId, group.members[0].memberId, 'the member')
    same('thalweg-test', group.members[0].clientId, 'its client')
    holds(/^\/127\./.test(group.members[0].clientHost), group.members[0].clientHost)
    same('Dead', none.state, 'the state of a group that is not there')
    same('Stable', (await reader.consumer.describeGroup()).state, 'the state to its member')
    const error = await admin.deleteGroups([topic]).then(() => null, error => error)
    same(['NON_EMPTY_GROUP'], error?.groups.map(({ error }) => error.type), 'the refusal')
    await reader.stop()
    same(0, (await admin.deleteGroups([topic]))[0].errorCode, 'the deletion')
    const left = (await admin.listGroups()).groups.map(({ groupId }) => groupId)
    holds(!left.includes(topic), 'the group is still listed')
  })
}

/** A member that says nothing more is put out, and its partitions go to those who stay. */
async function silentMemberIsPutOut(topic) {
  await create(topic, PARTITIONS)
  const silent = new Reader(topic, { sessionTimeout: 6000 })
  let isStuck = false
  let release
  const stuck = new Promise(resolve => { release = resolve })
  await silent.start([topic], {
    eachMessage: async () => {
      isStuck = true
      silent.look()
      await stuck
    }
  })
  await silent.joined()
  await withProducer({}, producer => producer.send({
    topic,
    messages: Array.from({ length: PARTITIONS }, (_, n) => ({ partition: n, value: `${n}` }))
  }))
  await silent.until(() => isStuck, 'the message that it does not get over')
  const other = await new Reader(topic, { sessionTimeout: 6000, rebalanceTimeout: 6000 })
    .start([topic])
  const messages = await other.count(PARTITIONS)
  same(PARTITIONS, messages.length, 'the messages')
  release()
  await Promise.all([silent.stop(), other.stop()])
}

/** Two groups read the same topic, each all of it. */
async function groupsAreApart(topic) {
  await create(topic, 1)
  await withProducer({}, producer => producer.send({ topic, messages: [{ value: 'same' }] }))
  const readers = [new Reader(`${topic}-a`), new Reader(`${topic}-b`)]
  await Promise.all(readers.map(reader => reader.start([topic])))
  await Promise.all(readers.map(reader => reader.count(1)))
  await Promise.all(readers.map(reader => reader.stop()))
}

export const cases = {
  'members-come-and-go': membersComeAndGo,
  'is-listed-described-and-deleted': isListedDescribedAndDeleted,
  'silent-member-is-put-out': silentMemberIsPutOut,
  'groups-are-apart': groupsAreApart
}
