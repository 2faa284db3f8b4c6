// The admin client of @platformatic/kafka: topics, settings, offsets, quotas, what is not there.

import { becomes, holds, refused, same } from '../cases.mjs'
import { create, platformatic, read, withAdmin, withProducer, write } from './client.mjs'

const { ConfigResourceTypes, ConfigSources, IncrementalAlterConfigOperationTypes } = platformatic
const { AclOperations, AclPermissionTypes, ResourcePatternTypes, ResourceTypes } = platformatic

async function topicsAreMadeGrownAndDeleted(topic) {
  const other = `${topic}-placed`
  await withAdmin(async admin => {
    const [made] = await admin.createTopics({ topics: [topic], partitions: 2, replicas: 1,
      configs: [{ name: 'cleanup.policy', value: 'compact' }] })
    same([topic, 2, 1], [made.name, made.partitions, made.replicas], 'what was made')
    same('compact', made.configuration['cleanup.policy'], 'a setting of what was made')
    const { brokers, controllerId } = await admin.metadata({ topics: [topic] })
    holds(brokers.has(controllerId), 'the controller is no broker')
    await admin.createTopics({ topics: [other], partitions: -1, replicas: -1,
      assignments: [0, 1, 2].map(partition => ({ partition, brokers: [controllerId] })) })
    const again = await refused(() => admin.createTopics({ topics: [topic] }), 'a second creation')
    holds(again.findBy('apiId', 'TOPIC_ALREADY_EXISTS'), `the error is ${again.stack}`)
    const metadata = async () => (await admin.metadata({ topics: [topic, other],
      forceUpdate: true })).topics
    await becomes([2, 3], async () => [...(await metadata()).values()]
      .map(each => each.partitionsCount), 'the partitions')
    same(made.id, (await metadata()).get(topic).id, 'the id of the topic')
    await admin.createPartitions({ topics: [{ name: topic, count: 5, assignments: null }] })
    await becomes(5, async () => (await metadata()).get(topic).partitionsCount, 'the partitions')
    const listed = async () => (await admin.listTopics()).filter(name => name.startsWith(topic))
    same([topic, other], (await listed()).sort(), 'the topics')
    holds((await admin.listTopics({ includeInternals: true })).length >= 2, 'all topics')
    await admin.deleteTopics({ topics: [topic, other] })
    await becomes([], listed, 'the topics that are left')
  })
}

async function refusalsSayWhy(topic) {
  await create(topic, 3)
  const make = options => admin => admin.createTopics({ partitions: 1, replicas: 1, ...options })
  const refusals = {
    INVALID_TOPIC_EXCEPTION: make({ topics: ['not a name'] }),
    INVALID_REPLICATION_FACTOR: make({ topics: [`${topic}-b`], replicas: 3 }),
    INVALID_CONFIG: make({ topics: [`${topic}-c`],
      configs: [{ name: 'retention.ms', value: 'soon' }] }),
    INVALID_PARTITIONS: admin => admin.createPartitions({
      topics: [{ name: topic, count: 2, assignments: null }] }),
    UNKNOWN_TOPIC_OR_PARTITION: admin => admin.deleteTopics({ topics: [`${topic}-none`] })
  }
  await withAdmin(async admin => {
    for (const [apiId, action] of Object.entries(refusals)) {
      const error = await refused(() => action(admin), apiId)
      holds(error.findBy('apiId', apiId), `not ${apiId}, but ${error.stack}`)
    }
  }, { retries: 0 })
}

async function settingsAreDescribedAndAltered(topic) {
  await create(topic, 1)
  const resource = { resourceType: ConfigResourceTypes.TOPIC, resourceName: topic }
  const { APPEND, DELETE, SET } = IncrementalAlterConfigOperationTypes
  await withAdmin(async admin => {
    const value = async name => {
      const [{ configs }] = await admin.describeConfigs({ includeSynonyms: true,
        includeDocumentation: true, resources: [{ ...resource, configurationKeys: [name] }] })
      same([name], configs.map(each => each.name), 'the settings that were asked for')
      return [configs[0].value, configs[0].configSource === ConfigSources.TOPIC_CONFIG]
    }
    const change = (name, configOperation, value, validateOnly = false) =>
      admin.incrementalAlterConfigs({ validateOnly,
        resources: [{ ...resource, configs: [{ name, configOperation, value }] }] })
    same(['604800000', false], await value('retention.ms'), 'the default')
    await change('retention.ms', SET, '1000', true)
    same(['604800000', false], await value('retention.ms'), 'the value after a trial')
    await change('retention.ms', SET, '7200000')
    await becomes(['7200000', true], () => value('retention.ms'), 'the value that was set')
    await change('cleanup.policy', APPEND, 'compact')
    await becomes(['delete,compact', true], () => value('cleanup.policy'), 'what was appended to')
    await change('retention.ms', DELETE)
    await becomes(['604800000', false], () => value('retention.ms'), 'the default again')
    await admin.alterConfigs({ validateOnly: false, resources: [{ ...resource,
      configs: [{ name: 'max.message.bytes', value: '5000' }] }] })
    await becomes(['5000', true], () => value('max.message.bytes'), 'the value that was set')
    await becomes(['delete', false], () => value('cleanup.policy'), 'what was not named')
    const error = await refused(() => change('retention.ms', SET, 'soon'), 'soon')
    holds(error.findBy('apiId', 'INVALID_CONFIG'), `the error is ${error.stack}`)
  })
}

async function offsetsOfTopics(topic) {
  await create(topic, 1)
  const first = 1_700_000_000_000n
  await withProducer({}, producer => producer.send({ messages: Array.from({ length: 10 },
    (_, n) => ({ topic, partition: 0, value: `${n}`, timestamp: first + 1000n * BigInt(n) })) }))
  await withAdmin(async admin => {
    const at = async timestamp => (await admin.listOffsets({
      topics: [{ name: topic, partitions: [{ partitionIndex: 0, timestamp }] }]
    }))[0].partitions[0].offset
    // The latest, the earliest, the one of the largest time, the earliest on this disk.
    same([10n, 0n, 9n, 0n], [await at(-1n), await at(-2n), await at(-3n), await at(-4n)],
      'the offsets')
    same([5n, -1n], [await at(first + 4500n), await at(first + 3_600_000n)], 'those of times')
    const [deleted] = await admin.deleteRecords({
      topics: [{ name: topic, partitions: [{ partition: 0, offset: 4n }] }] })
    same([{ partition: 0, lowWatermark: 4n }], deleted.partitions, 'what was deleted')
    same(4n, await at(-2n), 'the earliest then')
    const error = await refused(() => admin.deleteRecords({
      topics: [{ name: topic, partitions: [{ partition: 0, offset: 11n }] }] }), 'a late offset')
    holds(error.findBy('apiId', 'OFFSET_OUT_OF_RANGE'), `the error is ${error.stack}`)
  })
  const offsets = (await read(topic, 6)).map(({ offset }) => offset)
  same([4n, 5n, 6n, 7n, 8n, 9n], offsets, 'the offsets that are left')
}

async function offsetsOfGroups(topic) {
  await create(topic, 2)
  await write(topic, 20, 2)
  await withAdmin(async admin => {
    const topics = [{ name: topic, partitionIndexes: [0, 1] }]
    const offsets = async asked => {
      const [group] = await admin.listConsumerGroupOffsets({ groups: [asked], requireStable: true })
      return group.topics.flatMap(({ partitions }) => partitions
        .map(each => [each.partitionIndex, each.committedOffset])).sort()
    }
    await becomes([[0, -1n], [1, -1n]], () => offsets({ groupId: topic, topics }), 'the offsets')
    await admin.alterConsumerGroupOffsets({ groupId: topic, topics: [{ name: topic,
      partitionOffsets: [{ partition: 0, offset: 9n }, { partition: 1, offset: 8n }] }] })
    same([[0, 9n], [1, 8n]], await offsets(topic), 'all offsets of the group')
    await admin.deleteConsumerGroupOffsets({ groupId: topic,
      topics: [{ name: topic, partitionIndexes: [1] }] })
    same([[0, 9n]], await offsets(topic), 'the offsets that are left')
    await admin.deleteGroups({ groups: [topic] })
    same([], await offsets(topic), 'the offsets of a deleted group')
    const [found] = await admin.findCoordinator({ keyType: 0, keys: [topic] })
    same([topic, process.argv[2]], [found.key, `${found.host}:${found.port}`], 'the coordinator')
  })
}

async function quotas(topic) {
  await withAdmin(async admin => {
    const entity = { entityType: 'client-id', entityName: topic }
    const described = async () => (await admin.describeClientQuotas({ strict: false,
      components: [{ entityType: 'client-id', matchType: 0, match: topic }] }))
      .map(({ values }) => values)
    const alter = op => admin.alterClientQuotas({ validateOnly: false,
      entries: [{ entities: [entity], ops: [{ key: 'producer_byte_rate', ...op }] }] })
    await alter({ value: 1e9, remove: false })
    await becomes([[{ key: 'producer_byte_rate', value: 1e9 }]], described, 'the quota')
    await alter({ remove: true })
    await becomes([], described, 'the quota that was removed')
  })
}

async function logDirectories(topic) {
  await create(topic, 2)
  await write(topic, 10, 2)
  await withAdmin(async admin => {
    const [{ results }] = await admin.describeLogDirs({
      topics: [{ name: topic, partitions: [0, 1] }] })
    const partitions = results.flatMap(({ topics }) => topics)
      .filter(({ name }) => name === topic).flatMap(each => each.partitions)
    same([0, 1], partitions.map(each => each.partitionIndex).sort(), 'the partitions')
    partitions.forEach(each => holds(each.partitionSize > 0n, 'a partition without bytes'))
  })
}

/** There are no ACLs; who asks is told that, and the connection lives on. */
async function aclsAreRefused(topic) {
  const acl = { resourceType: ResourceTypes.TOPIC, resourceName: topic,
    resourcePatternType: ResourcePatternTypes.LITERAL, principal: 'User:alice', host: '*',
    operation: AclOperations.READ, permissionType: AclPermissionTypes.ALLOW }
  await withAdmin(async admin => {
    for (const action of [() => admin.createAcls({ creations: [acl] }),
      () => admin.describeAcls({ filter: acl }), () => admin.deleteAcls({ filters: [acl] })]) {
      const error = await refused(action, 'an ACL')
      holds(error.findBy('code', 'PLT_KFK_UNSUPPORTED_API') ||
        error.findBy('apiId', 'SECURITY_DISABLED'), `the error is ${error.stack}`)
    }
    await admin.listTopics()
  })
}

export const cases = {
  'topics-are-made-grown-and-deleted': topicsAreMadeGrownAndDeleted,
  'refusals-say-why': refusalsSayWhy,
  'settings-are-described-and-altered': settingsAreDescribedAndAltered,
  'offsets-of-topics': offsetsOfTopics,
  'offsets-of-groups': offsetsOfGroups,
  'quotas': quotas,
  'log-directories': logDirectories,
  'acls-are-refused': aclsAreRefused
}
