// All that Sarama's admin client can ask of a broker.
package main

import (
	"errors"
	"fmt"

	"github.com/IBM/sarama"

	"thalweg.test/golang/check"
)

func text(value string) *string { return &value }

func topics(t *check.T) {
	made := admin(t, settings())
	defer made.Close()
	detail := &sarama.TopicDetail{NumPartitions: 2, ReplicationFactor: 1,
		ConfigEntries: map[string]*string{"retention.ms": text("60000")}}
	t.Must(made.CreateTopic(t.Name, detail, true), "validate")
	listed, err := made.ListTopics()
	t.Must(err, "list topics")
	_, isThere := listed[t.Name]
	t.That(!isThere, "a topic was made by a validation")
	t.Must(made.CreateTopic(t.Name, detail, false), "create")
	err = made.CreateTopic(t.Name, detail, false)
	t.That(errors.Is(err, sarama.ErrTopicAlreadyExists), "create again: %v", err)
	bad := &sarama.TopicDetail{NumPartitions: 1, ReplicationFactor: 3}
	err = made.CreateTopic(t.Name+"-bad", bad, false)
	t.That(errors.Is(err, sarama.ErrInvalidReplicationFactor), "three replicas: %v", err)
	t.Until("listed", func() bool {
		listed, err := made.ListTopics()
		t.Must(err, "list topics")
		one := listed[t.Name]
		return one.NumPartitions == 2 && one.ConfigEntries["retention.ms"] != nil &&
			*one.ConfigEntries["retention.ms"] == "60000"
	})
	t.Must(made.CreatePartitions(t.Name, 4, nil, true), "validate partitions")
	t.Must(made.CreatePartitions(t.Name, 3, nil, false), "create partitions")
	t.Refused(made.CreatePartitions(t.Name, 2, nil, false), "fewer partitions")
	t.Until("three partitions", func() bool {
		described, err := made.DescribeTopics([]string{t.Name})
		t.Must(err, "describe topics")
		return len(described[0].Partitions) == 3
	})
	described, err := made.DescribeTopics([]string{t.Name, t.Name + "-nowhere"})
	t.Must(err, "describe topics")
	for _, one := range described {
		wanted := sarama.ErrNoError
		if one.Name != t.Name {
			wanted = sarama.ErrUnknownTopicOrPartition
		}
		t.Equal(one.Err, wanted, "described "+one.Name)
	}
	t.Must(made.DeleteTopic(t.Name), "delete")
	err = made.DeleteTopic(t.Name + "-nowhere")
	t.That(errors.Is(err, sarama.ErrUnknownTopicOrPartition), "delete nothing: %v", err)
}

func configs(t *check.T) {
	made := admin(t, settings())
	defer made.Close()
	create(t, t.Name, 1)
	value := func(key string) string {
		entries, err := made.DescribeConfig(sarama.ConfigResource{Type: sarama.TopicResource,
			Name: t.Name, ConfigNames: []string{key}})
		t.Must(err, "describe")
		t.Equal(len(entries), 1, "entries")
		return fmt.Sprint(entries[0].Value, " ", entries[0].Source)
	}
	t.Equal(value("retention.ms"), "604800000 Default", "default")
	change := func(operation sarama.IncrementalAlterConfigsOperation, key, to string) error {
		return made.IncrementalAlterConfig(sarama.TopicResource, t.Name,
			map[string]sarama.IncrementalAlterConfigsEntry{
				key: {Operation: operation, Value: &to}}, false)
	}
	t.Must(change(sarama.IncrementalAlterConfigsOperationSet, "retention.ms", "70000"), "set")
	t.Until("set", func() bool { return value("retention.ms") == "70000 Topic" })
	t.Must(change(sarama.IncrementalAlterConfigsOperationAppend, "cleanup.policy", "compact"),
		"append")
	t.Until("append", func() bool { return value("cleanup.policy") == "delete,compact Topic" })
	t.Refused(change(sarama.IncrementalAlterConfigsOperationSet, "retention.ms", "long"),
		"a bad value")
	// The old way replaces all that there is.
	t.Must(made.AlterConfig(sarama.TopicResource, t.Name,
		map[string]*string{"segment.bytes": text("2097152")}, false), "alter")
	t.Until("alter", func() bool { return value("segment.bytes") == "2097152 Topic" })
	t.Equal(value("retention.ms"), "604800000 Default", "what was not named")
	results, err := made.DescribeConfigs([]*sarama.ConfigResource{
		{Type: sarama.TopicResource, Name: t.Name},
		{Type: sarama.TopicResource, Name: t.Name + "-nowhere"},
		{Type: sarama.BrokerResource, Name: brokerID(t, made)},
	}, sarama.DescribeConfigsOptions{IncludeSynonyms: true, IncludeDocumentation: true})
	t.Must(err, "describe")
	t.Equal(len(results), 3, "results")
	for _, one := range results {
		if one.Name == t.Name+"-nowhere" {
			t.Equal(one.ErrorCode, sarama.ErrUnknownTopicOrPartition, "nowhere")
			continue
		}
		t.Equal(one.ErrorCode, sarama.ErrNoError, one.Name)
		t.That(len(one.Configs) > 20, "%d settings of %s", len(one.Configs), one.Name)
	}
}

func brokerID(t *check.T, made sarama.ClusterAdmin) string {
	brokers, controller, err := made.DescribeCluster()
	t.Must(err, "describe cluster")
	t.Equal(len(brokers), 1, "brokers")
	t.Equal(brokers[0].ID(), controller, "controller")
	t.Equal(brokers[0].Addr(), t.Bootstrap, "address")
	return fmt.Sprint(controller)
}

func recordsAndOffsets(t *check.T) {
	made := admin(t, settings())
	defer made.Close()
	create(t, t.Name, 2)
	write(t, numbered(t.Name, 2, 100), settings())
	t.Must(made.DeleteRecords(t.Name, map[int32]int64{0: 20, 1: -1}), "delete records")
	t.Refused(made.DeleteRecords(t.Name, map[int32]int64{0: 51}), "beyond the end")
	for asked, wanted := range map[int64][2]int64{
		sarama.OffsetOldest: {20, 50}, sarama.OffsetNewest: {50, 50},
	} {
		listed, err := made.ListOffsets(map[string]map[int32]int64{
			t.Name: {0: asked, 1: asked}}, nil)
		t.Must(err, "list offsets")
		for partition := range int32(2) {
			one := listed[t.Name][partition]
			t.Equal(one.Err, sarama.ErrNoError, "list offsets")
			t.Equal(one.Offset, wanted[partition], "offset")
		}
	}
}

func groupOffsets(t *check.T) {
	made := admin(t, settings())
	defer made.Close()
	create(t, t.Name, 2)
	write(t, numbered(t.Name, 2, 100), settings())
	altered, err := made.AlterConsumerGroupOffsets(t.Name,
		map[string]map[int32]sarama.OffsetAndMetadata{t.Name: {
			0: {Offset: 5, Metadata: "note", LeaderEpoch: 0}, 1: {Offset: 6, LeaderEpoch: -1}}},
		nil)
	t.Must(err, "alter offsets")
	for _, code := range altered.Errors[t.Name] {
		t.Equal(code, sarama.ErrNoError, "altered offset")
	}
	fetched, err := made.ListConsumerGroupOffsets(t.Name, nil)
	t.Must(err, "list offsets")
	block := fetched.GetBlock(t.Name, 0)
	t.Equal([]any{block.Offset, block.Metadata}, []any{int64(5), "note"}, "offset")
	batch, err := made.ListConsumerGroupOffsetsBatch(map[string]map[string][]int32{
		t.Name: nil, t.Name + "-nobody": {t.Name: {0}}})
	t.Must(err, "list offsets of groups")
	t.Equal(len(batch), 2, "groups")
	t.Must(made.DeleteConsumerGroupOffset(t.Name, t.Name, 0), "delete offset")
	fetched, err = made.ListConsumerGroupOffsets(t.Name, map[string][]int32{t.Name: {0, 1}})
	t.Must(err, "list offsets")
	t.Equal([]int64{fetched.GetBlock(t.Name, 0).Offset, fetched.GetBlock(t.Name, 1).Offset},
		[]int64{-1, 6}, "offsets")
	t.Must(made.DeleteConsumerGroup(t.Name), "delete group")
	err = made.DeleteConsumerGroup(t.Name)
	t.That(errors.Is(err, sarama.ErrGroupIDNotFound), "delete it again: %v", err)
	groups, err := made.DescribeConsumerGroups([]string{t.Name})
	t.Must(err, "describe group")
	t.Equal(groups[0].State, "Dead", "state of nothing")
}

func cluster(t *check.T) {
	made := admin(t, settings())
	defer made.Close()
	create(t, t.Name, 2)
	write(t, numbered(t.Name, 2, 100), settings())
	brokerID(t, made)
	controller, err := made.Controller()
	t.Must(err, "controller")
	coordinator, err := made.Coordinator(t.Name)
	t.Must(err, "coordinator")
	t.Equal(coordinator.ID(), controller.ID(), "coordinator")
	dirs, err := made.DescribeLogDirs([]int32{controller.ID()})
	t.Must(err, "log dirs")
	size := int64(0)
	for _, dir := range dirs[controller.ID()] {
		t.That(dir.TotalBytes > 0, "volume: %+v", dir.TotalBytes)
		for _, topic := range dir.Topics {
			for _, partition := range topic.Partitions {
				if topic.Topic == t.Name {
					size += partition.Size
				}
			}
		}
	}
	t.That(size > 0, "no bytes in the log dirs")
	elected, err := made.ElectLeaders(sarama.PreferredElection, map[string][]int32{t.Name: {0, 1}})
	t.Must(err, "elect leaders")
	for _, one := range elected[t.Name] {
		t.Equal(one.ErrorCode, sarama.ErrElectionNotNeeded, "election")
	}
	here := [][]int32{{controller.ID()}, {controller.ID()}}
	t.Must(made.AlterPartitionReassignments(t.Name, here), "reassign to where it is")
	moving, err := made.ListPartitionReassignments(t.Name, []int32{0, 1})
	t.Must(err, "list reassignments")
	t.Equal(len(moving), 0, "reassignments")
}

func quotas(t *check.T) {
	made := admin(t, settings())
	defer made.Close()
	entity := []sarama.QuotaEntityComponent{{EntityType: sarama.QuotaEntityClientID,
		MatchType: sarama.QuotaMatchExact, Name: t.Name}}
	described := func() []sarama.DescribeClientQuotasEntry {
		entries, err := made.DescribeClientQuotas([]sarama.QuotaFilterComponent{{
			EntityType: sarama.QuotaEntityClientID, MatchType: sarama.QuotaMatchExact,
			Match: t.Name}}, true)
		t.Must(err, "describe quotas")
		return entries
	}
	set := sarama.ClientQuotasOp{Key: "consumer_byte_rate", Value: 1e9}
	t.Must(made.AlterClientQuotas(entity, set, true), "validate quota")
	t.Must(made.AlterClientQuotas(entity, set, false), "set quota")
	t.Until("quota", func() bool {
		entries := described()
		return len(entries) == 1 && entries[0].Values["consumer_byte_rate"] == 1e9
	})
	set.Remove = true
	t.Must(made.AlterClientQuotas(entity, set, false), "remove quota")
	t.Until("no quota", func() bool { return len(described()) == 0 })
}

// What is not there is told at once, by an error that names it.
func refusedPolitely(t *check.T) {
	made := admin(t, settings())
	defer made.Close()
	_, err := made.ListAcls(sarama.AclFilter{ResourceType: sarama.AclResourceAny,
		Operation: sarama.AclOperationAny, PermissionType: sarama.AclPermissionAny})
	t.Refused(err, "list ACLs")
	t.Refused(made.CreateACL(sarama.Resource{ResourceType: sarama.AclResourceTopic,
		ResourceName: t.Name, ResourcePatternType: sarama.AclPatternLiteral},
		sarama.Acl{Principal: "User:x", Host: "*", Operation: sarama.AclOperationRead,
			PermissionType: sarama.AclPermissionAllow}), "create ACL")
	users, err := made.DescribeUserScramCredentials(nil)
	t.Must(err, "describe SCRAM users")
	t.Equal(len(users), 0, "SCRAM users")
	results, err := made.UpdateFeatures([]sarama.FeatureUpdate{
		{Feature: "no.such.feature", MaxVersionLevel: 1}})
	t.That(err != nil || results[0].ErrorCode != sarama.ErrNoError,
		"a feature that nobody knows: %+v", results)
	_, err = made.ListTopics()
	t.Must(err, "list topics")
}
