// All that kadm can ask of a broker.
package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"thalweg.test/golang/check"
)

func topics(t *check.T) {
	made := admin(t)
	defer made.Close()
	dry, err := made.ValidateCreateTopics(t.Context, 3, 1, nil, t.Name)
	t.Must(err, "validate create")
	t.Must(dry.Error(), "validate create")
	listed, err := made.ListTopics(t.Context)
	t.Must(err, "list topics")
	t.That(!listed.Has(t.Name), "a topic was made by a validation")
	answers, err := made.CreateTopics(t.Context, 3, 1,
		map[string]*string{"retention.ms": kadm.StringPtr("60000")}, t.Name, t.Name+"-b")
	t.Must(err, "create")
	one, err := answers.On(t.Name, nil)
	t.Must(err, "create")
	t.Equal([]int{int(one.NumPartitions), int(one.ReplicationFactor)}, []int{3, 1}, "created")
	t.Equal(*one.Configs["retention.ms"].Value, "60000", "setting of the created topic")
	_, err = made.CreateTopic(t.Context, 3, 1, nil, t.Name)
	t.That(errors.Is(err, kerr.TopicAlreadyExists), "create again: %v", err)
	_, err = made.CreateTopic(t.Context, 1, 3, nil, t.Name+"-c")
	t.That(errors.Is(err, kerr.InvalidReplicationFactor), "three replicas: %v", err)
	_, err = made.CreateTopic(t.Context, 1, 1, nil, "a/b")
	t.That(errors.Is(err, kerr.InvalidTopicException), "a bad name: %v", err)
	_, err = made.CreateTopic(t.Context, 1, 1,
		map[string]*string{"no.such.setting": kadm.StringPtr("1")}, t.Name+"-c")
	t.That(errors.Is(err, kerr.InvalidConfig), "a bad setting: %v", err)
	byDefault, err := made.CreateTopic(t.Context, -1, -1, nil, t.Name+"-d")
	t.Must(err, "create with defaults")
	t.Equal(int(byDefault.NumPartitions), 1, "partitions by default")

	t.Until("topic with its id", func() bool {
		listed, err = made.ListTopics(t.Context, t.Name, t.Name+"-nowhere")
		t.Must(err, "list topics")
		return listed[t.Name].ID == one.ID && len(listed[t.Name].Partitions) == 3
	})
	t.That(errors.Is(listed[t.Name+"-nowhere"].Err, kerr.UnknownTopicOrPartition), "nowhere: %v",
		listed[t.Name+"-nowhere"].Err)
	gone, err := made.DeleteTopics(t.Context, t.Name, t.Name+"-b", t.Name+"-nowhere")
	t.Must(err, "delete")
	t.Must(gone[t.Name].Err, "delete")
	t.That(errors.Is(gone[t.Name+"-nowhere"].Err, kerr.UnknownTopicOrPartition), "delete: %v",
		gone[t.Name+"-nowhere"].Err)
	t.Until("topics are gone", func() bool {
		listed, err := made.ListTopics(t.Context)
		t.Must(err, "list topics")
		return !listed.Has(t.Name) && !listed.Has(t.Name+"-b") && listed.Has(t.Name+"-d")
	})
}

func configs(t *check.T) {
	made := admin(t)
	defer made.Close()
	create(t, t.Name, 1, map[string]string{"retention.ms": "60000"})
	value := func(key string) string {
		described, err := made.DescribeTopicConfigs(t.Context, t.Name)
		t.Must(err, "describe")
		one, err := described.On(t.Name, nil)
		t.Must(err, "describe")
		for _, each := range one.Configs {
			if each.Key == key {
				source := kmsg.ConfigSourceDynamicTopicConfig
				return fmt.Sprint(each.MaybeValue(), " ", each.Source == source)
			}
		}
		return "none"
	}
	change := func(op kadm.IncrementalOp, key, value string) error {
		answers, err := made.AlterTopicConfigs(t.Context,
			[]kadm.AlterConfig{{Op: op, Name: key, Value: &value}}, t.Name)
		t.Must(err, "alter")
		one, err := answers.On(t.Name, nil)
		t.Must(err, "alter")
		return one.Err
	}
	t.Equal(value("retention.ms"), "60000 true", "created")
	t.Must(change(kadm.SetConfig, "retention.ms", "70000"), "set")
	t.Until("set", func() bool { return value("retention.ms") == "70000 true" })
	t.Must(change(kadm.AppendConfig, "cleanup.policy", "compact"), "append")
	t.Until("append", func() bool { return value("cleanup.policy") == "delete,compact true" })
	t.Must(change(kadm.SubtractConfig, "cleanup.policy", "delete"), "subtract")
	t.Until("subtract", func() bool { return value("cleanup.policy") == "compact true" })
	t.Must(change(kadm.DeleteConfig, "cleanup.policy", ""), "delete")
	t.Until("delete", func() bool { return value("cleanup.policy") == "delete false" })
	err := change(kadm.SetConfig, "retention.ms", "long")
	t.That(errors.Is(err, kerr.InvalidConfig), "a bad value: %v", err)
	_, err = made.ValidateAlterTopicConfigs(t.Context, []kadm.AlterConfig{
		{Name: "retention.ms", Value: kadm.StringPtr("1")}}, t.Name)
	t.Must(err, "validate")
	t.Equal(value("retention.ms"), "70000 true", "after a validation")
	// The old way replaces all that there is.
	_, err = made.AlterTopicConfigsState(t.Context, []kadm.AlterConfig{
		{Name: "segment.bytes", Value: kadm.StringPtr("2097152")}}, t.Name)
	t.Must(err, "alter state")
	t.Until("state", func() bool { return value("segment.bytes") == "2097152 true" })
	t.Equal(value("retention.ms"), "604800000 false", "what was not named")

	unknown, err := made.DescribeTopicConfigs(t.Context, t.Name+"-nowhere")
	t.Must(err, "describe")
	t.That(errors.Is(unknown[0].Err, kerr.UnknownTopicOrPartition), "nowhere: %v", unknown[0].Err)
	brokerConfigs(t, made)
	resources, err := made.ListConfigResources(t.Context, kmsg.ConfigResourceTypeTopic)
	t.Must(err, "list config resources")
	t.Must(resources.Err, "list config resources")
	isThere := false
	for _, each := range resources.Resources {
		isThere = isThere || each.Name == t.Name
	}
	t.That(isThere, "not among the resources: %v", resources.Resources)
}

func brokerConfigs(t *check.T, made *kadm.Client) {
	brokers, err := made.ListBrokers(t.Context)
	t.Must(err, "list brokers")
	id := brokers.NodeIDs()[0]
	value := func(key string) string {
		described, err := made.DescribeBrokerConfigs(t.Context, id)
		t.Must(err, "describe broker")
		one, err := described.On(strconv.Itoa(int(id)), nil)
		t.Must(err, "describe broker")
		for _, each := range one.Configs {
			if each.Key == key {
				return each.MaybeValue()
			}
		}
		return "none"
	}
	t.Equal(value("node.id"), fmt.Sprint(id), "node.id")
	key := "log.cleaner.backoff.ms"
	before := value(key)
	_, err = made.AlterBrokerConfigs(t.Context, []kadm.AlterConfig{
		{Name: key, Value: kadm.StringPtr("14000")}}, id)
	t.Must(err, "alter broker")
	t.Until("broker setting", func() bool { return value(key) == "14000" })
	_, err = made.AlterBrokerConfigs(t.Context, []kadm.AlterConfig{
		{Op: kadm.DeleteConfig, Name: key}}, id)
	t.Must(err, "alter broker back")
	t.Until("broker setting back", func() bool { return value(key) == before })
}

func partitions(t *check.T) {
	made := admin(t)
	defer made.Close()
	create(t, t.Name, 1, nil)
	count := func() int {
		listed, err := made.ListTopics(t.Context, t.Name)
		t.Must(err, "list topics")
		return len(listed[t.Name].Partitions)
	}
	change := func(answers kadm.CreatePartitionsResponses, err error) error {
		t.Must(err, "create partitions")
		one, err := answers.On(t.Name, nil)
		t.Must(err, "create partitions")
		return one.Err
	}
	t.Must(change(made.ValidateCreatePartitions(t.Context, 5, t.Name)), "validate")
	t.Equal(count(), 1, "partitions after a validation")
	t.Must(change(made.CreatePartitions(t.Context, 2, t.Name)), "two more")
	t.Until("three", func() bool { return count() == 3 })
	t.Must(change(made.UpdatePartitions(t.Context, 4, t.Name)), "to four")
	t.Until("four", func() bool { return count() == 4 })
	err := change(made.UpdatePartitions(t.Context, 2, t.Name))
	t.That(errors.Is(err, kerr.InvalidPartitions), "fewer: %v", err)
	write(t, numbered(t.Name, 4, 8))
}

func deleteRecords(t *check.T) {
	made := admin(t)
	defer made.Close()
	create(t, t.Name, 2, nil)
	write(t, numbered(t.Name, 2, 100))
	var offsets kadm.Offsets
	offsets.AddOffset(t.Name, 0, 20, -1)
	// -1 is the high watermark.
	offsets.AddOffset(t.Name, 1, -1, -1)
	gone, err := made.DeleteRecords(t.Context, offsets)
	t.Must(err, "delete records")
	t.Must(gone.Error(), "delete records")
	for partition, wanted := range []int64{20, 50} {
		one, _ := gone.Lookup(t.Name, int32(partition))
		t.Equal(one.LowWatermark, wanted, "low watermark")
	}
	starts, err := made.ListStartOffsets(t.Context, t.Name)
	t.Must(err, "list start offsets")
	for partition, wanted := range []int64{20, 50} {
		one, _ := starts.Lookup(t.Name, int32(partition))
		t.Equal(one.Offset, wanted, "start offset")
	}
	var beyond kadm.Offsets
	beyond.AddOffset(t.Name, 0, 51, -1)
	gone, err = made.DeleteRecords(t.Context, beyond)
	t.Must(err, "delete records")
	one, _ := gone.Lookup(t.Name, 0)
	t.That(errors.Is(one.Err, kerr.OffsetOutOfRange), "beyond the end: %v", one.Err)
}

func listOffsets(t *check.T) {
	made := admin(t)
	defer made.Close()
	create(t, t.Name, 2, nil)
	write(t, numbered(t.Name, 2, 10))
	type lister func(context.Context, ...string) (kadm.ListedOffsets, error)
	for name, list := range map[string]lister{
		"end": made.ListEndOffsets, "committed": made.ListCommittedOffsets,
		"start": made.ListStartOffsets, "local": made.ListLocalLogStartOffsets,
	} {
		wanted := map[string]int64{"end": 5, "committed": 5}[name]
		listed, err := list(t.Context, t.Name)
		t.Must(err, name)
		t.Must(listed.Error(), name)
		for partition := range int32(2) {
			one, _ := listed.Lookup(t.Name, partition)
			t.Equal(one.Offset, wanted, name)
		}
	}
	remote, err := made.ListLatestRemoteOffsets(t.Context, t.Name)
	t.Must(err, "remote")
	one, _ := remote.Lookup(t.Name, 0)
	t.Must(one.Err, "remote")
	t.Equal(one.Offset, int64(-1), "latest remote offset")
	nowhere, err := made.ListEndOffsets(t.Context, t.Name+"-nowhere")
	t.Must(err, "nowhere")
	t.That(errors.Is(nowhere.Error(), kerr.UnknownTopicOrPartition), "nowhere: %v",
		nowhere.Error())
}

func committedOffsets(t *check.T) {
	made := admin(t)
	defer made.Close()
	create(t, t.Name, 3, nil)
	write(t, numbered(t.Name, 3, 30))
	var offsets kadm.Offsets
	offsets.Add(kadm.Offset{Topic: t.Name, Partition: 0, At: 4, LeaderEpoch: 0, Metadata: "note"})
	offsets.AddOffset(t.Name, 1, 7, -1)
	t.Must(made.CommitAllOffsets(t.Context, t.Name, offsets), "commit")
	fetched, err := made.FetchOffsets(t.Context, t.Name)
	t.Must(err, "fetch offsets")
	one, _ := fetched.Lookup(t.Name, 0)
	t.Equal([]any{one.At, one.Metadata}, []any{int64(4), "note"}, "committed")
	t.Equal(len(fetched[t.Name]), 2, "committed partitions")
	byTopic, err := made.FetchOffsetsForTopics(t.Context, t.Name, t.Name)
	t.Must(err, "fetch offsets for topics")
	one, _ = byTopic.Lookup(t.Name, 2)
	t.Equal(one.At, int64(-1), "what was not committed")
	many := made.FetchManyOffsets(t.Context, t.Name, t.Name+"-nobody")
	t.Must(many.Error(), "fetch many")
	t.Equal(len(many[t.Name].Fetched[t.Name]), 2, "fetch many")
	lags, err := made.Lag(t.Context, t.Name)
	t.Must(err, "lag")
	t.Equal(lags[t.Name].Lag.Total(), int64(6+3+10), "lag of all partitions")
	byID, err := made.FetchOffsetsByID(t.Context, t.Name)
	t.Must(err, "fetch offsets by id")
	t.Equal(len(byID), 1, "topics by id")

	gone, err := made.DeleteOffsets(t.Context, t.Name, kadm.TopicsSet{t.Name: {0: {}}})
	t.Must(err, "delete offsets")
	t.Must(gone.Error(), "delete offsets")
	fetched, err = made.FetchOffsets(t.Context, t.Name)
	t.Must(err, "fetch offsets")
	_, isThere := fetched.Lookup(t.Name, 0)
	t.That(!isThere, "a deleted offset is there")
	deleteGroup(t)
	_, err = made.DeleteGroup(t.Context, t.Name)
	t.That(errors.Is(err, kerr.GroupIDNotFound), "deletion of nothing: %v", err)
	groups, err := made.DescribeGroups(t.Context, t.Name)
	t.Must(err, "describe groups")
	t.That(groups[t.Name].State == "Dead", "state of nothing: %+v", groups[t.Name])
}

func cluster(t *check.T) {
	made := admin(t)
	defer made.Close()
	metadata, err := made.BrokerMetadata(t.Context)
	t.Must(err, "broker metadata")
	t.That(metadata.Cluster != "" && len(metadata.Brokers) == 1, "cluster %+v", metadata)
	broker := metadata.Brokers[0]
	t.Equal(fmt.Sprintf("%s:%d", broker.Host, broker.Port), t.Bootstrap, "address")
	t.Equal(metadata.Controller, broker.NodeID, "controller")
	versions, err := made.ApiVersions(t.Context)
	t.Must(err, "api versions")
	ours := versions[broker.NodeID]
	fetches, _ := ours.KeyMaxVersion(int16(kmsg.Fetch))
	t.That(fetches >= 17, "Fetch up to %d", fetches)
	coordinators := made.FindGroupCoordinators(t.Context, t.Name, t.Name+"-b")
	t.Must(coordinators.Error(), "find coordinators")
	t.Equal(coordinators[t.Name].NodeID, broker.NodeID, "coordinator")
	raw := kmsg.NewPtrDescribeClusterRequest()
	described, err := raw.RequestWith(t.Context, client(t))
	t.Must(err, "describe cluster")
	t.Equal([]any{described.ErrorCode, described.ClusterID, len(described.Brokers)},
		[]any{int16(0), metadata.Cluster, 1}, "described cluster")
	ping := client(t)
	defer ping.Close()
	t.Must(ping.Ping(t.Context), "ping")
	features, err := made.UpdateFeatures(t.Context, true, kadm.FeatureUpdate{
		Feature: "no.such.feature", MaxVersionLevel: 1, UpgradeType: 1})
	t.That(err != nil || features["no.such.feature"].Err != nil, "a feature that nobody knows")
}

func logDirs(t *check.T) {
	made := admin(t)
	defer made.Close()
	create(t, t.Name, 2, nil)
	write(t, numbered(t.Name, 2, 100))
	all, err := made.DescribeAllLogDirs(t.Context, kadm.TopicsSet{t.Name: {0: {}, 1: {}}})
	t.Must(err, "describe log dirs")
	dirs := all.Sorted()
	t.Equal(len(dirs), 1, "log dirs")
	t.Must(dirs[0].Err, "describe log dirs")
	t.That(dirs[0].TotalBytes > 0 && dirs[0].UsableBytes > 0, "volume: %+v", dirs[0])
	for partition := range int32(2) {
		one, isThere := dirs[0].Topics.Lookup(t.Name, partition)
		t.That(isThere && one.Size > 0, "size of partition %d: %+v", partition, one)
	}
	var move kadm.AlterReplicaLogDirsReq
	move.Add(dirs[0].Dir, kadm.TopicsSet{t.Name: {0: {}}})
	moved, err := made.AlterAllReplicaLogDirs(t.Context, move)
	t.Must(err, "alter log dirs")
	moved.Each(func(each kadm.AlterReplicaLogDirsResponse) { t.Must(each.Err, "to where it is") })
}

func quotas(t *check.T) {
	made := admin(t)
	defer made.Close()
	entity := kadm.ClientQuotaEntity{{Type: "client-id", Name: kadm.StringPtr(t.Name)}}
	change := func(op kadm.AlterClientQuotaOp) {
		altered, err := made.AlterClientQuotas(t.Context, []kadm.AlterClientQuotaEntry{
			{Entity: entity, Ops: []kadm.AlterClientQuotaOp{op}}})
		t.Must(err, "alter quotas")
		t.Must(altered[0].Err, "alter quotas")
	}
	described := func() []kadm.DescribedClientQuota {
		quotas, err := made.DescribeClientQuotas(t.Context, true,
			[]kadm.DescribeClientQuotaComponent{{Type: "client-id",
				MatchName: kadm.StringPtr(t.Name), MatchType: kmsg.QuotasMatchTypeExact}})
		t.Must(err, "describe quotas")
		return quotas
	}
	change(kadm.AlterClientQuotaOp{Key: "producer_byte_rate", Value: 1e9})
	t.Until("quota", func() bool { return len(described()) == 1 })
	t.Equal(described()[0].Values,
		kadm.ClientQuotaValues{{Key: "producer_byte_rate", Value: 1e9}}, "quota")
	change(kadm.AlterClientQuotaOp{Key: "producer_byte_rate", Remove: true})
	t.Until("no quota", func() bool { return len(described()) == 0 })
}

func leadersAndReplicas(t *check.T) {
	made := admin(t)
	defer made.Close()
	create(t, t.Name, 2, nil)
	set := kadm.TopicsSet{t.Name: {0: {}, 1: {}}}
	for _, how := range []kadm.ElectLeadersHow{kadm.ElectPreferredReplica,
		kadm.ElectLiveReplica} {
		elected, err := made.ElectLeaders(t.Context, how, set)
		t.Must(err, "elect leaders")
		for partition := range int32(2) {
			err := elected[t.Name][partition].Err
			t.That(errors.Is(err, kerr.ElectionNotNeeded), "election: %v", err)
		}
	}
	listed, err := made.ListTopics(t.Context, t.Name)
	t.Must(err, "list topics")
	one := listed[t.Name].Partitions[0]
	t.Equal(one.ISR, one.Replicas, "in-sync replicas")
	var assign kadm.AlterPartitionAssignmentsReq
	assign.Assign(t.Name, 0, one.Replicas)
	assigned, err := made.AlterPartitionAssignments(t.Context, assign)
	t.Must(err, "assign")
	t.Must(assigned.Error(), "assign to where it is")
	var far kadm.AlterPartitionAssignmentsReq
	far.Assign(t.Name, 0, []int32{99})
	assigned, err = made.AlterPartitionAssignments(t.Context, far)
	t.Must(err, "assign")
	t.That(errors.Is(assigned.Error(), kerr.InvalidReplicaAssignment), "no such broker: %v",
		assigned.Error())
	moving, err := made.ListPartitionReassignments(t.Context, set)
	t.Must(err, "list reassignments")
	t.Equal(len(moving), 0, "reassignments")
	write(t, numbered(t.Name, 2, 10))
	var epochs kadm.OffsetForLeaderEpochRequest
	epochs.Add(t.Name, 0, one.LeaderEpoch)
	ends, err := made.OffsetForLeaderEpoch(t.Context, epochs)
	t.Must(err, "offset for leader epoch")
	t.Equal(ends[t.Name][0].EndOffset, int64(5), "end of the epoch")
}

func producers(t *check.T) {
	made := admin(t)
	defer made.Close()
	create(t, t.Name, 1, nil)
	producer := client(t, kgo.DefaultProduceTopic(t.Name))
	defer producer.Close()
	t.Must(producer.ProduceSync(t.Context, kgo.StringRecord("x")).FirstErr(), "produce")
	id, _, err := producer.ProducerID(t.Context)
	t.Must(err, "producer id")
	described, err := made.DescribeProducers(t.Context, kadm.TopicsSet{t.Name: {0: {}}})
	t.Must(err, "describe producers")
	active := described.SortedProducers()
	t.That(len(active) == 1 && active[0].ProducerID == id && active[0].LastSequence == 0 &&
		time.Since(time.UnixMilli(active[0].LastTimestamp)) < time.Hour, "producers: %+v", active)
}

// What is not there is told at once, by an error that names it.
func refusedPolitely(t *check.T) {
	made := admin(t)
	defer made.Close()
	acls := kadm.NewACLs().Topics(t.Name).Allow("User:x").AllowHosts("*").
		Operations(kadm.OpRead).ResourcePatternType(kadm.ACLPatternLiteral)
	describedACLs, err := made.DescribeACLs(t.Context, acls)
	for _, each := range describedACLs {
		err = errors.Join(err, each.Err)
	}
	t.Refused(err, "describe ACLs")
	createdACLs, err := made.CreateACLs(t.Context, acls)
	for _, each := range createdACLs {
		err = errors.Join(err, each.Err)
	}
	t.Refused(err, "create ACLs")
	_, err = made.DescribeDelegationTokens(t.Context)
	t.Refused(err, "delegation tokens")
	scrams, err := made.DescribeUserSCRAMs(t.Context)
	t.Must(err, "describe SCRAM users")
	t.Equal(len(scrams), 0, "SCRAM users")
	// The connection is still good for others.
	_, err = made.ListTopics(t.Context)
	t.Must(err, "list topics")
}
