// Command franz runs the cases of franz-go: its client kgo, and its admin client kadm.
package main

import (
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"thalweg.test/golang/check"
)

func main() {
	// Those that take the longest begin first.
	var cases []check.Case
	for _, kind := range groupKinds {
		cases = append(cases,
			check.Case{Name: "group-" + kind.name, Run: func(t *check.T) { group(t, kind) }},
			check.Case{Name: "regex-" + kind.name, Run: func(t *check.T) { regex(t, kind) }})
	}
	cases = append(cases, []check.Case{
		{Name: "null-and-empty", Run: nullAndEmpty},
		{Name: "topic-appears-when-first-written-to", Run: appears},
		{Name: "starts-at-offsets", Run: startsAtOffsets},
		{Name: "starts-at-times", Run: startsAtTimes},
		{Name: "pause-and-resume", Run: pauseAndResume},
		{Name: "truncated-below-the-reader", Run: truncatedBelowReader},
		{Name: "big-records", Run: bigRecords},
		{Name: "regex-without-a-group", Run: regexWithoutGroup},
		{Name: "static-member-returns", Run: staticMember},
		{Name: "topics", Run: topics},
		{Name: "configs", Run: configs},
		{Name: "partitions", Run: partitions},
		{Name: "delete-records", Run: deleteRecords},
		{Name: "list-offsets", Run: listOffsets},
		{Name: "committed-offsets", Run: committedOffsets},
		{Name: "cluster", Run: cluster},
		{Name: "log-dirs", Run: logDirs},
		{Name: "quotas", Run: quotas},
		{Name: "leaders-and-replicas", Run: leadersAndReplicas},
		{Name: "producers", Run: producers},
		{Name: "refused-politely", Run: refusedPolitely},
	}...)
	cases = append(cases, check.RoundTrips(roundTrip)...)
	cases = append(cases, check.ForCodecs("idempotent", idempotent)...)
	check.Main("franz", cases)
}

func client(t *check.T, options ...kgo.Opt) *kgo.Client {
	options = append([]kgo.Opt{
		kgo.SeedBrokers(t.Bootstrap),
		// A refusal is to be seen within the time of a case.
		kgo.RetryTimeout(20 * time.Second),
		// Kafka tells of a topic before it takes records for it.
		kgo.UnknownTopicRetries(-1),
		// kadm answers from what it heard within this time.
		kgo.MetadataMinAge(50 * time.Millisecond), kgo.MetadataMaxAge(time.Second),
	}, options...)
	made, err := kgo.NewClient(options...)
	t.Must(err, "client")
	return made
}

func admin(t *check.T) *kadm.Client {
	return kadm.NewClient(client(t))
}

// create makes a topic, and waits until its partitions are there.
func create(t *check.T, topic string, count int32, settings map[string]string) {
	made := admin(t)
	defer made.Close()
	configs := map[string]*string{}
	for key, value := range settings {
		configs[key] = kadm.StringPtr(value)
	}
	_, err := made.CreateTopic(t.Context, count, 1, configs, topic)
	t.Must(err, "create topic")
	t.Until("partitions of a new topic", func() bool {
		ends, err := made.ListEndOffsets(t.Context, topic)
		return err == nil && ends.Error() == nil && len(ends[topic]) == int(count)
	})
}

// write sends records, each to the partition it names, and fails with the first that fails.
func write(t *check.T, records []*kgo.Record, options ...kgo.Opt) {
	options = append([]kgo.Opt{kgo.RecordPartitioner(kgo.ManualPartitioner())}, options...)
	producer := client(t, options...)
	defer producer.Close()
	t.Must(producer.ProduceSync(t.Context, records...).FirstErr(), "produce")
}

// numbered are records "0", "1" and so on, in turn for each of the partitions.
func numbered(topic string, partitions, count int) []*kgo.Record {
	records := make([]*kgo.Record, count)
	for number := range records {
		records[number] = &kgo.Record{Topic: topic, Partition: int32(number % partitions),
			Value: fmt.Append(nil, number)}
	}
	return records
}

// read polls until there are so many records, by partition.
func read(t *check.T, consumer *kgo.Client, count int) map[int32][]*kgo.Record {
	found := map[int32][]*kgo.Record{}
	for had := 0; had < count; {
		fetches := consumer.PollFetches(t.Context)
		fetches.EachError(func(topic string, partition int32, err error) {
			t.Fail("poll of %s-%d after %d of %d records: %v", topic, partition, had, count, err)
		})
		fetches.EachRecord(func(record *kgo.Record) {
			had++
			found[record.Partition] = append(found[record.Partition], record)
		})
		t.That(had <= count, "%d records instead of %d", had, count)
	}
	return found
}
