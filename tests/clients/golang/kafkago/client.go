// Client: all that kafka-go can ask of a broker by single requests.
package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"

	"thalweg.test/golang/check"
)

func clientTopics(t *check.T) {
	made := client(t)
	defer closed(made)
	create(t, t.Name, 1)
	again, err := made.CreateTopics(t.Context, &kafka.CreateTopicsRequest{
		Topics: []kafka.TopicConfig{{Topic: t.Name, NumPartitions: 1, ReplicationFactor: 1}}})
	t.Must(err, "create topics")
	t.That(errors.Is(again.Errors[t.Name], kafka.TopicAlreadyExists), "create again: %v", again)
	more, err := made.CreatePartitions(t.Context, &kafka.CreatePartitionsRequest{
		Topics: []kafka.TopicPartitionsConfig{{Name: t.Name, Count: 3}}})
	t.Must(err, "create partitions")
	t.Must(more.Errors[t.Name], "create partitions")
	t.Until("three partitions", func() bool {
		metadata, err := made.Metadata(t.Context, &kafka.MetadataRequest{Topics: []string{t.Name}})
		t.Must(err, "metadata")
		return len(metadata.Topics[0].Partitions) == 3
	})
	gone, err := made.DeleteTopics(t.Context, &kafka.DeleteTopicsRequest{
		Topics: []string{t.Name, t.Name + "-nowhere"}})
	t.Must(err, "delete topics")
	t.Must(gone.Errors[t.Name], "delete topic")
	t.That(errors.Is(gone.Errors[t.Name+"-nowhere"], kafka.UnknownTopicOrPartition),
		"delete nothing: %v", gone.Errors)
}

func clientConfigs(t *check.T) {
	made := client(t)
	defer closed(made)
	create(t, t.Name, 1, kafka.ConfigEntry{ConfigName: "retention.ms", ConfigValue: "60000"})
	value := func(key string) string {
		described, err := made.DescribeConfigs(t.Context, &kafka.DescribeConfigsRequest{
			Resources: []kafka.DescribeConfigRequestResource{{
				ResourceType: kafka.ResourceTypeTopic, ResourceName: t.Name,
				ConfigNames: []string{key}}}})
		t.Must(err, "describe")
		t.Must(described.Resources[0].Error, "describe")
		return described.Resources[0].ConfigEntries[0].ConfigValue
	}
	t.Equal(value("retention.ms"), "60000", "created")
	changed, err := made.IncrementalAlterConfigs(t.Context,
		&kafka.IncrementalAlterConfigsRequest{
			Resources: []kafka.IncrementalAlterConfigsRequestResource{{
				ResourceType: kafka.ResourceTypeTopic, ResourceName: t.Name,
				Configs: []kafka.IncrementalAlterConfigsRequestConfig{{Name: "retention.ms",
					Value: "70000", ConfigOperation: kafka.ConfigOperationSet}}}}})
	t.Must(err, "incremental alter")
	t.Must(changed.Resources[0].Error, "incremental alter")
	t.Until("changed", func() bool { return value("retention.ms") == "70000" })
	altered, err := made.AlterConfigs(t.Context, &kafka.AlterConfigsRequest{
		Resources: []kafka.AlterConfigRequestResource{{ResourceType: kafka.ResourceTypeTopic,
			ResourceName: t.Name, Configs: []kafka.AlterConfigRequestConfig{
				{Name: "segment.bytes", Value: "2097152"}}}}})
	t.Must(err, "alter")
	for _, err := range altered.Errors {
		t.Must(err, "alter")
	}
	t.Until("altered", func() bool { return value("segment.bytes") == "2097152" })
	t.Equal(value("retention.ms"), "604800000", "what was not named")
}

func clientRecords(t *check.T) {
	made := client(t)
	defer closed(made)
	create(t, t.Name, 1)
	for _, codec := range check.Codecs {
		produced, err := made.Produce(t.Context, &kafka.ProduceRequest{Topic: t.Name,
			RequiredAcks: kafka.RequireAll, Compression: codecs[codec],
			Records: kafka.NewRecordReader(
				kafka.Record{Key: kafka.NewBytes([]byte("k")),
					Value: kafka.NewBytes([]byte(codec)), Time: at(1)})})
		t.Must(err, "produce "+codec)
		t.Must(produced.Error, "produce "+codec)
	}
	fetched, err := made.Fetch(t.Context, &kafka.FetchRequest{Topic: t.Name, Offset: 0,
		MinBytes: 1, MaxBytes: 1_000_000, MaxWait: time.Second})
	t.Must(err, "fetch")
	t.Must(fetched.Error, "fetch")
	t.Equal(fetched.HighWatermark, int64(5), "high watermark")
	for number, codec := range check.Codecs {
		record, err := fetched.Records.ReadRecord()
		t.Must(err, "read record")
		value, err := kafka.ReadAll(record.Value)
		t.Must(err, "read value")
		t.Equal([]any{string(value), record.Offset}, []any{codec, int64(number)}, "record")
	}
	listed, err := made.ListOffsets(t.Context, &kafka.ListOffsetsRequest{
		Topics: map[string][]kafka.OffsetRequest{t.Name: {kafka.FirstOffsetOf(0),
			kafka.LastOffsetOf(0), kafka.TimeOffsetOf(0, at(0))}}})
	t.Must(err, "list offsets")
	one := listed.Topics[t.Name][0]
	t.Must(one.Error, "list offsets")
	t.Equal([]int64{one.FirstOffset, one.LastOffset}, []int64{0, 5}, "offsets")
	_, isThere := one.Offsets[0]
	t.That(isThere, "offset at a time: %v", one.Offsets)
	t.Until("producer id", func() bool {
		producer, err := made.InitProducerID(t.Context, &kafka.InitProducerIDRequest{
			TransactionTimeoutMs: 10_000})
		t.Must(err, "init producer id")
		return producer.Error == nil && producer.Producer.ProducerID >= 0
	})
}

func clientGroupOffsets(t *check.T) {
	made := client(t)
	defer closed(made)
	create(t, t.Name, 2)
	t.Until("coordinator", func() bool {
		found, err := made.FindCoordinator(t.Context, &kafka.FindCoordinatorRequest{
			Key: t.Name, KeyType: kafka.CoordinatorKeyTypeConsumer})
		t.Must(err, "find coordinator")
		return found.Error == nil && found.Coordinator.NodeID >= 0
	})
	t.Until("commit", func() bool {
		committed, err := made.OffsetCommit(t.Context, &kafka.OffsetCommitRequest{
			GroupID: t.Name, GenerationID: -1,
			Topics: map[string][]kafka.OffsetCommit{t.Name: {
				{Partition: 0, Offset: 5, Metadata: "note"}, {Partition: 1, Offset: 6}}}})
		t.Must(err, "commit")
		return committed.Topics[t.Name][0].Error == nil
	})
	fetched, err := made.OffsetFetch(t.Context, &kafka.OffsetFetchRequest{GroupID: t.Name,
		Topics: map[string][]int{t.Name: {0, 1}}})
	t.Must(err, "fetch offsets")
	t.Must(fetched.Error, "fetch offsets")
	offsets := map[int]string{}
	for _, each := range fetched.Topics[t.Name] {
		offsets[each.Partition] = fmt.Sprint(each.CommittedOffset, each.Metadata)
	}
	t.Equal(offsets, map[int]string{0: "5note", 1: "6"}, "offsets")
	listed, err := made.ListGroups(t.Context, &kafka.ListGroupsRequest{})
	t.Must(err, "list groups")
	isListed := false
	for _, each := range listed.Groups {
		isListed = isListed || each.GroupID == t.Name
	}
	t.That(isListed, "not among the groups: %+v", listed.Groups)
	deleted, err := made.OffsetDelete(t.Context, &kafka.OffsetDeleteRequest{GroupID: t.Name,
		Topics: map[string][]int{t.Name: {0}}})
	t.Must(err, "delete offset")
	t.Must(deleted.Error, "delete offset")
	gone, err := made.DeleteGroups(t.Context, &kafka.DeleteGroupsRequest{
		GroupIDs: []string{t.Name, t.Name + "-nobody"}})
	t.Must(err, "delete groups")
	t.Must(gone.Errors[t.Name], "delete group")
	t.That(errors.Is(gone.Errors[t.Name+"-nobody"], kafka.GroupIdNotFound), "delete nothing: %v",
		gone.Errors)
}

func clientCluster(t *check.T) {
	made := client(t)
	defer closed(made)
	create(t, t.Name, 2)
	metadata, err := made.Metadata(t.Context, &kafka.MetadataRequest{Topics: []string{t.Name}})
	t.Must(err, "metadata")
	t.That(metadata.ClusterID != "" && len(metadata.Brokers) == 1, "metadata %+v", metadata)
	t.Equal(metadata.Controller.ID, metadata.Brokers[0].ID, "controller")
	versions, err := made.ApiVersions(t.Context, &kafka.ApiVersionsRequest{})
	t.Must(err, "api versions")
	t.Must(versions.Error, "api versions")
	elected, err := made.ElectLeaders(t.Context, &kafka.ElectLeadersRequest{Topic: t.Name,
		Partitions: []int{0, 1}, Timeout: 5 * time.Second})
	t.Must(err, "elect leaders")
	for _, each := range elected.PartitionResults {
		t.That(errors.Is(each.Error, kafka.ElectionNotNeeded), "election: %v", each.Error)
	}
	broker := metadata.Brokers[0].ID
	moved, err := made.AlterPartitionReassignments(t.Context,
		&kafka.AlterPartitionReassignmentsRequest{Topic: t.Name, Timeout: 5 * time.Second,
			Assignments: []kafka.AlterPartitionReassignmentsRequestAssignment{
				{PartitionID: 0, BrokerIDs: []int{broker}}}})
	t.Must(err, "reassign")
	t.Must(moved.Error, "reassign")
	for _, each := range moved.PartitionResults {
		t.Must(each.Error, "reassign to where it is")
	}
	moving, err := made.ListPartitionReassignments(t.Context,
		&kafka.ListPartitionReassignmentsRequest{Timeout: 5 * time.Second,
			Topics: map[string]kafka.ListPartitionReassignmentsRequestTopic{
				t.Name: {PartitionIndexes: []int{0, 1}}}})
	t.Must(err, "list reassignments")
	t.Must(moving.Error, "list reassignments")
	t.Equal(len(moving.Topics), 0, "reassignments")
}

func clientQuotas(t *check.T) {
	made := client(t)
	defer closed(made)
	change := func(op kafka.AlterClientQuotaOps) {
		altered, err := made.AlterClientQuotas(t.Context, &kafka.AlterClientQuotasRequest{
			Entries: []kafka.AlterClientQuotaEntry{{
				Entities: []kafka.AlterClientQuotaEntity{
					{EntityType: "client-id", EntityName: t.Name}},
				Ops: []kafka.AlterClientQuotaOps{op}}}})
		t.Must(err, "alter quotas")
		t.Must(altered.Entries[0].Error, "alter quotas")
	}
	described := func() []kafka.DescribeClientQuotasResponseQuotas {
		quotas, err := made.DescribeClientQuotas(t.Context, &kafka.DescribeClientQuotasRequest{
			Components: []kafka.DescribeClientQuotasRequestComponent{{EntityType: "client-id",
				MatchType: 0, Match: t.Name}}, Strict: true})
		t.Must(err, "describe quotas")
		t.Must(quotas.Error, "describe quotas")
		return quotas.Entries
	}
	change(kafka.AlterClientQuotaOps{Key: "producer_byte_rate", Value: 1e9})
	t.Until("quota", func() bool {
		entries := described()
		return len(entries) == 1 && entries[0].Values[0].Value == 1e9
	})
	change(kafka.AlterClientQuotaOps{Key: "producer_byte_rate", Remove: true})
	t.Until("no quota", func() bool { return len(described()) == 0 })
}

// What is not there is told at once, by an error that names it.
func refusedPolitely(t *check.T) {
	made := client(t)
	defer closed(made)
	described, err := made.DescribeACLs(t.Context, &kafka.DescribeACLsRequest{
		Filter: kafka.ACLFilter{ResourceTypeFilter: kafka.ResourceTypeAny,
			ResourcePatternTypeFilter: kafka.PatternTypeAny,
			Operation:                 kafka.ACLOperationTypeAny,
			PermissionType:            kafka.ACLPermissionTypeAny}})
	if err == nil {
		err = described.Error
	}
	t.Refused(err, "describe ACLs")
	users, err := made.DescribeUserScramCredentials(t.Context,
		&kafka.DescribeUserScramCredentialsRequest{})
	t.Must(err, "describe SCRAM users")
	t.Must(users.Error, "describe SCRAM users")
	t.Equal(len(users.Results), 0, "SCRAM users")
	_, err = made.Metadata(t.Context, &kafka.MetadataRequest{})
	t.Must(err, "metadata")
}
