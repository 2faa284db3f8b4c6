// The admin client of kafkajs: topics, settings, offsets, what is not there.

import { becomes, holds, refused, same } from '../cases.mjs'
import {
  AclOperationTypes, AclPermissionTypes, AclResourceTypes, ConfigResourceTypes, Reader,
  ResourcePatternTypes, create, makeTopics, read, withAdmin, withProducer, write
} from './client.mjs'

const byPartition = (a, b) => a.partition - b.partition

async function describesTheCluster() {
  const { brokers, controller, clusterId } = await withAdmin(admin => admin.describeCluster())
  const [host, port] = process.argv[2].split(':')
  same(1, brokers.length, 'the number of brokers')
  same([host, Number(port)], [brokers[0].host, brokers[0].port], 'the address')
  same(brokers[0].nodeId, controller, 'the controller')
  same(22, clusterId.length, 'the length of the cluster id')
}

async function topicsAreMadeGrownAndDeleted(topic) {
  await withAdmin(async admin => {
    const topics = [{ topic, numPartitions: 2, replicationFactor: 1,
      configEntries: [{ name: 'cleanup.policy', value: 'compact' },
        { name: 'segment.bytes', value: '1048576' }] },
    { topic: `${topic}-placed`, replicaAssignment: [{ partition: 0, replicas: [1] }] }]
    const trial = { topics, validateOnly: true, waitForLeaders: false }
    same(true, await admin.createTopics(trial), 'the trial')
    holds(!(await admin.listTopics()).includes(topic), 'a trial made the topic')
    await makeTopics(admin, topics)
    same(false, await admin.createTopics({ topics: topics.slice(0, 1) }), 'a second creation')
    const listed = await admin.listTopics()
    topics.forEach(made => holds(listed.includes(made.topic), `${made.topic} is not listed`))
    await admin.createPartitions({ topicPartitions: [{ topic, count: 5 }] })
    const described = async () => (await admin.fetchTopicMetadata({ topics: [topic] })).topics[0]
    await becomes([0, 1, 2, 3, 4], async () => (await described()).partitions
      .map(({ partitionId }) => partitionId).sort(), 'the partitions')
    const metadata = await described()
    metadata.partitions.forEach(({ partitionErrorCode, leader, replicas, isr }) =>
      same([0, [leader], [leader]], [partitionErrorCode, replicas, isr], 'a partition'))
    await admin.deleteTopics({ topics: topics.map(made => made.topic) })
    await becomes([], async () => {
      const left = await admin.listTopics()
      return topics.filter(made => left.includes(made.topic))
    }, 'the deleted topics')
  })
}

async function refusalsSayWhy(topic) {
  await create(topic, 3)
  await withAdmin(async admin => {
    const refusals = {
      INVALID_TOPIC_EXCEPTION: () => admin.createTopics({ topics: [{ topic: 'not a name' }] }),
      INVALID_REPLICATION_FACTOR: () => admin.createTopics({
        topics: [{ topic: `${topic}-b`, numPartitions: 1, replicationFactor: 3 }] }),
      INVALID_CONFIG: () => admin.createTopics({ topics: [{ topic: `${topic}-c`,
        configEntries: [{ name: 'retention.ms', value: 'soon' }] }] }),
      INVALID_PARTITIONS: () => admin.createPartitions({
        topicPartitions: [{ topic, count: 2 }] }),
      UNKNOWN_TOPIC_OR_PARTITION: () => admin.deleteTopics({ topics: [`${topic}-none`] })
    }
    for (const [type, action] of Object.entries(refusals)) {
      const error = await refused(action, type)
      // createTopics gathers one error for each topic.
      const inner = error.errors?.[0] ?? error.cause ?? error
      same(type, inner.type, 'the error')
    }
  }, { retry: { retries: 0 } })
}

async function settingsAreDescribedAndAltered(topic) {
  await create(topic, 1)
  const resource = { type: ConfigResourceTypes.TOPIC, name: topic }
  await withAdmin(async admin => {
    const value = async name => {
      const { resources: [{ errorCode, configEntries }] } = await admin.describeConfigs({
        includeSynonyms: true, resources: [{ ...resource, configNames: [name] }] })
      same([0, 1], [errorCode, configEntries.length], 'the answer')
      const { configValue, isDefault, configSynonyms } = configEntries[0]
      holds(Array.isArray(configSynonyms), 'the synonyms that were asked for did not come')
      return [configValue, isDefault]
    }
    same(['604800000', true], await value('retention.ms'), 'the default')
    await admin.alterConfigs({ validateOnly: true,
      resources: [{ ...resource, configEntries: [{ name: 'retention.ms', value: '1000' }] }] })
    same(['604800000', true], await value('retention.ms'), 'the value after a trial')
    await admin.alterConfigs({ validateOnly: false,
      resources: [{ ...resource, configEntries: [{ name: 'retention.ms', value: '7200000' }] }] })
    await becomes(['7200000', false], () => value('retention.ms'), 'the value that was set')
    const { resources: [{ configEntries: all }] } = await admin.describeConfigs({
      includeSynonyms: false, resources: [resource] })
    holds(all.length > 20, `only ${all.length} settings of a topic`)
    const brokerId = `${(await admin.describeCluster()).brokers[0].nodeId}`
    const { resources: [ofBroker] } = await admin.describeConfigs({ includeSynonyms: false,
      resources: [{ type: ConfigResourceTypes.BROKER, name: brokerId }] })
    const names = ofBroker.configEntries.map(({ configName }) => configName)
    holds(names.includes('log.retention.ms'), 'the broker does not tell log.retention.ms')
    const error = await refused(() => admin.alterConfigs({ validateOnly: false, resources: [
      { ...resource, configEntries: [{ name: 'retention.ms', value: 'soon' }] }] }), 'soon')
    same('INVALID_CONFIG', error.type, 'the error')
  })
}

async function offsetsOfTopics(topic) {
  await create(topic, 2)
  const first = 1_700_000_000_000
  await withProducer({}, producer => producer.send({ topic,
    messages: Array.from({ length: 20 }, (_, n) => (
      { partition: n % 2, timestamp: `${first + 1000 * n}`, value: `${n}` })) }))
  await withAdmin(async admin => {
    const offsets = await admin.fetchTopicOffsets(topic)
    same([{ partition: 0, offset: '10', high: '10', low: '0' },
      { partition: 1, offset: '10', high: '10', low: '0' }], offsets.sort(byPartition), 'the ends')
    const at = async time => (await admin.fetchTopicOffsetsByTimestamp(topic, time))
      .sort(byPartition).map(({ offset }) => offset)
    same(['5', '5'], await at(first + 9500), 'the offsets for a time')
    same(['10', '10'], await at(first + 3_600_000), 'the offsets for a time to come')
    await admin.deleteTopicRecords({ topic,
      partitions: [{ partition: 0, offset: '4' }, { partition: 1, offset: '-1' }] })
    const left = (await admin.fetchTopicOffsets(topic)).sort(byPartition)
    same([['4', '10'], ['10', '10']], left.map(({ low, high }) => [low, high]), 'what is left')
    const error = await refused(() => admin.deleteTopicRecords({ topic,
      partitions: [{ partition: 0, offset: '11' }] }), 'a deletion behind the end')
    same('OFFSET_OUT_OF_RANGE', error.cause.partitions[0].error.type, 'the error')
  })
  const messages = await read(topic, 6)
  same(['4', '5', '6', '7', '8', '9'], messages.map(got => got.offset), 'the offsets left')
}

async function offsetsOfGroups(topic) {
  await create(topic, 2)
  await write(topic, 20, 2)
  await withAdmin(async admin => {
    const offsets = async options => {
      const [{ partitions }] = await admin.fetchOffsets({ groupId: topic, topics: [topic],
        ...options })
      return partitions.sort(byPartition).map(({ offset }) => offset)
    }
    await becomes(['-1', '-1'], offsets, 'the offsets of a group that is not there')
    await admin.setOffsets({ groupId: topic, topic,
      partitions: [{ partition: 0, offset: '9' }, { partition: 1, offset: '8' }] })
    same(['9', '8'], await offsets(), 'the offsets that were set')
    const all = await admin.fetchOffsets({ groupId: topic })
    same([topic], all.map(each => each.topic), 'the topics of a group, when none is named')
    const reader = await new Reader(topic).start([topic])
    await reader.count(3)
    same(['17', '18', '19'], reader.values().sort(), 'what a member reads from there')
    const error = await refused(() => admin.setOffsets({ groupId: topic, topic,
      partitions: [{ partition: 0, offset: '0' }] }), 'to set the offsets of a busy group')
    holds(/currently|Stable/i.test(error.message), `the error is ${error.message}`)
    await reader.stop()
    await admin.resetOffsets({ groupId: topic, topic, earliest: true })
    same(['0', '0'], await offsets({ resolveOffsets: true }), 'the earliest')
  })
}

/** There are no ACLs; who asks is told that, and the connection lives on. */
async function aclsAreRefused(topic) {
  await withAdmin(async admin => {
    const acl = { resourceType: AclResourceTypes.TOPIC, resourceName: topic,
      resourcePatternType: ResourcePatternTypes.LITERAL, principal: 'User:alice', host: '*',
      operation: AclOperationTypes.ALL, permissionType: AclPermissionTypes.ALLOW }
    for (const action of [() => admin.createAcls({ acl: [acl] }), () => admin.describeAcls(acl),
      () => admin.deleteAcls({ filters: [acl] })]) {
      const error = await refused(action, 'an ACL')
      const isSaid = error.name === 'KafkaJSServerDoesNotSupportApiKey'
      holds(isSaid || error.type === 'SECURITY_DISABLED', `the error is ${error.stack}`)
    }
    await admin.listTopics()
  })
}

async function reassignments(topic) {
  await create(topic, 1)
  await withAdmin(async admin => {
    const { brokers: [{ nodeId }] } = await admin.describeCluster()
    await admin.alterPartitionReassignments({
      topics: [{ topic, partitionAssignment: [{ partition: 0, replicas: [nodeId] }] }] })
    same([], (await admin.listPartitionReassignments({})).topics, 'the reassignments')
  })
}

export const cases = {
  'describes-the-cluster': describesTheCluster,
  'topics-are-made-grown-and-deleted': topicsAreMadeGrownAndDeleted,
  'refusals-say-why': refusalsSayWhy,
  'settings-are-described-and-altered': settingsAreDescribedAndAltered,
  'offsets-of-topics': offsetsOfTopics,
  'offsets-of-groups': offsetsOfGroups,
  'acls-are-refused': aclsAreRefused,
  'reassignments': reassignments
}
