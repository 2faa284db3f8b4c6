// Command sarama runs the cases of Sarama: its producers, consumers, groups and admin client.
package main

import (
	"fmt"
	"time"

	"github.com/IBM/sarama"

	"thalweg.test/golang/check"
)

// The versions of Kafka that a program may tell Sarama it talks to: the oldest with record
// batches, some that chose other versions of requests, the newest that it knows.
var versions = []sarama.KafkaVersion{
	sarama.V0_11_0_0, sarama.V1_1_0_0, sarama.V2_1_0_0, sarama.V2_8_0_0, sarama.V3_6_0_0,
	sarama.V4_0_0_0, sarama.MaxVersion,
}

func main() {
	// Those that take the longest begin first.
	var cases []check.Case
	for name, strategy := range strategies {
		cases = append(cases, check.Case{
			Name: "group-" + name,
			Run:  func(t *check.T) { group(t, strategy) },
		})
	}
	for _, version := range versions {
		cases = append(cases, check.Case{
			Name: "as-for-kafka-" + version.String(),
			Run:  func(t *check.T) { asForKafka(t, version) },
		})
	}
	cases = append(cases, []check.Case{
		{Name: "async-producer", Run: asyncProducer},
		{Name: "null-and-empty", Run: nullAndEmpty},
		{Name: "topic-appears-when-first-written-to", Run: appears},
		{Name: "offsets-and-times", Run: offsetsAndTimes},
		{Name: "too-large", Run: tooLarge},
		{Name: "offset-manager", Run: offsetManager},
		{Name: "static-member-returns", Run: staticMember},
		{Name: "topics", Run: topics},
		{Name: "configs", Run: configs},
		{Name: "records-and-offsets", Run: recordsAndOffsets},
		{Name: "group-offsets", Run: groupOffsets},
		{Name: "cluster", Run: cluster},
		{Name: "quotas", Run: quotas},
		{Name: "refused-politely", Run: refusedPolitely},
	}...)
	cases = append(cases, check.RoundTrips(roundTrip)...)
	cases = append(cases, check.ForCodecs("idempotent", idempotent)...)
	check.Main("sarama", cases)
}

// settings are those of a program that changes no more than it must.
func settings() *sarama.Config {
	made := sarama.NewConfig()
	made.Version = sarama.MaxVersion
	made.Producer.Return.Successes = true
	made.Consumer.Return.Errors = true
	made.Consumer.Offsets.Initial = sarama.OffsetOldest
	// Kafka tells of a topic before it takes records for it, and makes the one of offsets when it
	// is first asked for.
	made.Metadata.Retry.Max = 40
	made.Producer.Retry.Max = 40
	made.Consumer.Offsets.Retry.Max = 40
	return made
}

func admin(t *check.T, config *sarama.Config) sarama.ClusterAdmin {
	made, err := sarama.NewClusterAdmin([]string{t.Bootstrap}, config)
	t.Must(err, "admin client")
	return made
}

// create makes a topic, and waits until its partitions are there.
func create(t *check.T, topic string, partitions int32) {
	made := admin(t, settings())
	defer made.Close()
	t.Must(made.CreateTopic(topic, &sarama.TopicDetail{NumPartitions: partitions,
		ReplicationFactor: 1}, false), "create topic")
	asked := map[int32]int64{}
	for partition := range partitions {
		asked[partition] = sarama.OffsetNewest
	}
	t.Until("partitions of a new topic", func() bool {
		ends, err := made.ListOffsets(map[string]map[int32]int64{topic: asked}, nil)
		if err != nil || len(ends[topic]) != int(partitions) {
			return false
		}
		for _, one := range ends[topic] {
			if one.Err != sarama.ErrNoError {
				return false
			}
		}
		return true
	})
}

// numbered are messages "0", "1" and so on, in turn for each of the partitions.
func numbered(topic string, partitions, count int) []*sarama.ProducerMessage {
	messages := make([]*sarama.ProducerMessage, count)
	for number := range messages {
		messages[number] = &sarama.ProducerMessage{Topic: topic,
			Partition: int32(number % partitions), Value: sarama.StringEncoder(fmt.Sprint(number))}
	}
	return messages
}

// write sends each message to the partition that it names.
func write(t *check.T, messages []*sarama.ProducerMessage, config *sarama.Config) {
	config.Producer.Partitioner = sarama.NewManualPartitioner
	producer, err := sarama.NewSyncProducer([]string{t.Bootstrap}, config)
	t.Must(err, "producer")
	defer producer.Close()
	t.Must(producer.SendMessages(messages), "send")
}

// read takes so many messages of a partition, beginning at an offset.
func read(t *check.T, config *sarama.Config, partition int32, from int64,
	count int) []*sarama.ConsumerMessage {
	consumer, err := sarama.NewConsumer([]string{t.Bootstrap}, config)
	t.Must(err, "consumer")
	defer consumer.Close()
	reading, err := consumer.ConsumePartition(t.Name, partition, from)
	t.Must(err, "consume partition")
	defer reading.Close()
	var found []*sarama.ConsumerMessage
	for len(found) < count {
		select {
		case message := <-reading.Messages():
			found = append(found, message)
		case err := <-reading.Errors():
			t.Must(err, "consume")
		case <-t.Context.Done():
			t.Fail("%d of %d messages came in time", len(found), count)
		}
	}
	return found
}

const day = 1_700_000_000_000

func at(number int) time.Time {
	return time.UnixMilli(day + int64(number))
}
