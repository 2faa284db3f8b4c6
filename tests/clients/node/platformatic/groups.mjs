// Groups of @platformatic/kafka whose members come and go, in both protocols.

import { becomes, comingAndGoing, holds, refused, same } from '../cases.mjs'
import { Reader, create, withAdmin, write } from './client.mjs'

const PARTITIONS = 6

/** Every partition has one owner, and each member as many as the others. */
async function settled(readers, topic) {
  const evenly = () => {
    const all = readers.flatMap(reader => reader.share(topic)).sort()
    return all.join() === '0,1,2,3,4,5' &&
      readers.every(reader => reader.share(topic).length === PARTITIONS / readers.length)
  }
  const [first, ...others] = readers
  const events = ['group:join', 'group:rebalance', 'heartbeat:end']
  for (const event of events) {
    readers.forEach(({ consumer }) => consumer.on(`consumer:${event}`, () => first.look()))
  }
  await first.until(evenly, () => `an even share, not ${readers.map(each => each.share(topic))}`)
}

/** Members come one by one and go in another order; every record is delivered. */
async function membersComeAndGo(topic, options) {
  await create(topic, PARTITIONS)
  const readers = Array.from({ length: 3 }, () => new Reader(topic, options))
  let sent = 0
  const delivered = () => new Set(readers.flatMap(reader => reader.values())).size
  async function writeMore() {
    await write(topic, 60, PARTITIONS, sent)
    sent += 60
  }
  for (const { action, present } of comingAndGoing(readers, topic)) {
    await writeMore()
    await action()
    await settled(present, topic)
    await writeMore()
    const [first, ...others] = present
    others.forEach(reader => reader.stream.on('data', () => first.look()))
    await first.until(() => delivered() === sent, () => `${sent} records of ${delivered()}`)
  }
  await readers[1].stop()
}

/** Members may have names of their own, and the group tells them. */
async function membersHaveNames(topic) {
  await create(topic, PARTITIONS)
  const named = groupInstanceId => new Reader(topic, { groupInstanceId })
  const readers = await Promise.all(['a', 'b'].map(name => named(name).start([topic])))
  await settled(readers, topic)
  await withAdmin(async admin => {
    const { members } = (await admin.describeGroups({ groups: [topic] })).get(topic)
    same(['a', 'b'], [...members.values()].map(each => each.groupInstanceId).sort(), 'the names')
  })
  await Promise.all(readers.map(reader => reader.stop()))
}

async function isListedDescribedAndDeleted(topic) {
  await create(topic, 2)
  await write(topic, 2, 2)
  const reader = await new Reader(topic).start([topic])
  await reader.count(2)
  await withAdmin(async admin => {
    const listed = (await admin.listGroups({ types: ['classic'] })).get(topic)
    same({ id: topic, state: 'STABLE', groupType: 'classic', protocolType: 'consumer' }, listed,
      'the group in the list')
    const group = (await admin.describeGroups({ groups: [topic] })).get(topic)
    same(['STABLE', 'consumer'], [group.state, group.protocolType], 'the group')
    const [member] = group.members.values()
    same([reader.consumer.memberId, 'thalweg-test'], [member.id, member.clientId], 'its member')
    same([0, 1], member.assignments.get(topic).partitions.toSorted(), 'what it has')
    const error = await refused(() => admin.deleteGroups({ groups: [topic] }), 'the deletion')
    holds(error.findBy('apiId', 'NON_EMPTY_GROUP'), `the error is ${error.stack}`)
    await reader.stop()
    await admin.deleteGroups({ groups: [topic] })
    holds(!(await admin.listGroups()).has(topic), 'the group is still listed')
  })
}

/** A member that an administrator removes is gone, and its partitions with it. */
async function memberIsRemoved(topic) {
  await create(topic, 2)
  const reader = await new Reader(topic, { heartbeatInterval: 5000 }).start([topic])
  const memberId = reader.consumer.memberId
  await withAdmin(async admin => {
    await admin.removeMembersFromConsumerGroup({ groupId: topic,
      members: [{ memberId, reason: 'a test' }] })
    const { members } = (await admin.describeGroups({ groups: [topic] })).get(topic)
    holds(!members.has(memberId), 'the member is still there')
  })
  await reader.stop()
}

/** A group of the new protocol is listed as what it is. */
async function consumerGroupIsListed(topic) {
  await create(topic, 2)
  await write(topic, 2, 2)
  const reader = await new Reader(topic, { groupProtocol: 'consumer' }).start([topic])
  await reader.count(2)
  await withAdmin(async admin => {
    await becomes('STABLE', async () =>
      (await admin.listGroups({ types: ['consumer'] })).get(topic)?.state, 'the state')
    const listed = async () => (await admin.listGroups({ types: ['consumer'] })).get(topic)
    same('consumer', (await listed()).groupType, 'the type of the group')
    await reader.stop()
    await becomes('EMPTY', async () => (await listed())?.state, 'the state')
    await admin.deleteGroups({ groups: [topic] })
    same(undefined, await listed(), 'the deleted group')
  })
}

const consumer = { groupProtocol: 'consumer' }

export const cases = {
  'members-come-and-go-classic': topic => membersComeAndGo(topic, {}),
  'members-come-and-go-consumer': topic => membersComeAndGo(topic, consumer),
  'members-have-names': membersHaveNames,
  'is-listed-described-and-deleted': isListedDescribedAndDeleted,
  'member-is-removed': memberIsRemoved,
  'consumer-group-is-listed': consumerGroupIsListed
}
