// Command kafkago runs the cases of segmentio's kafka-go: Writer, Reader, Conn and Client.
package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"

	"thalweg.test/golang/check"
)

func main() {
	cases := []check.Case{
		{Name: "null-and-empty", Run: nullAndEmpty},
		{Name: "topic-appears-when-first-written-to", Run: appears},
		{Name: "reader-offsets-and-times", Run: readerOffsets},
		{Name: "too-large", Run: tooLarge},
		{Name: "group-range", Run: func(t *check.T) { group(t, kafka.RangeGroupBalancer{}) }},
		{Name: "group-round-robin",
			Run: func(t *check.T) { group(t, kafka.RoundRobinGroupBalancer{}) }},
		{Name: "group-generations", Run: generations},
		{Name: "conn-topics", Run: connTopics},
		{Name: "conn-records", Run: connRecords},
		{Name: "conn-seek", Run: connSeek},
		{Name: "client-topics", Run: clientTopics},
		{Name: "client-configs", Run: clientConfigs},
		{Name: "client-records", Run: clientRecords},
		{Name: "client-group-offsets", Run: clientGroupOffsets},
		{Name: "client-cluster", Run: clientCluster},
		{Name: "client-quotas", Run: clientQuotas},
		{Name: "refused-politely", Run: refusedPolitely},
	}
	cases = append(cases, check.RoundTrips(roundTrip)...)
	check.Main("kafkago", cases)
}

const day = 1_700_000_000_000

func at(number int) time.Time {
	return time.UnixMilli(day + int64(number))
}

// client has connections of its own: a shared one would remember topics of other cases. What it
// hears of a cluster it asks again within this time, and does without when the answer takes longer.
func client(t *check.T) *kafka.Client {
	return &kafka.Client{Addr: kafka.TCP(t.Bootstrap),
		Transport: &kafka.Transport{MetadataTTL: 2 * time.Second}}
}

func closed(made *kafka.Client) {
	made.Transport.(*kafka.Transport).CloseIdleConnections()
}

// create makes a topic, and waits until its partitions are there.
func create(t *check.T, topic string, count int, settings ...kafka.ConfigEntry) {
	made := client(t)
	defer closed(made)
	t.Until("controller", func() bool {
		answer, err := made.CreateTopics(t.Context, &kafka.CreateTopicsRequest{
			Topics: []kafka.TopicConfig{{Topic: topic, NumPartitions: count,
				ReplicationFactor: 1, ConfigEntries: settings}}})
		if errors.Is(err, kafka.BrokerNotAvailable) {
			// It has not heard of the cluster in time.
			return false
		}
		t.Must(err, "create topic")
		t.Must(answer.Errors[topic], "create topic")
		return true
	})
	var asked []kafka.OffsetRequest
	for partition := range count {
		asked = append(asked, kafka.LastOffsetOf(partition))
	}
	t.Until("partitions of a new topic", func() bool {
		listed, err := made.ListOffsets(t.Context, &kafka.ListOffsetsRequest{
			Topics: map[string][]kafka.OffsetRequest{topic: asked}})
		if err != nil || len(listed.Topics[topic]) != count {
			return false
		}
		for _, one := range listed.Topics[topic] {
			if one.Error != nil {
				return false
			}
		}
		return true
	})
}

// toItsPartition sends a message "7" of three partitions to the second.
type toItsPartition struct{}

func (toItsPartition) Balance(message kafka.Message, partitions ...int) int {
	var number int
	fmt.Sscan(string(message.Value), &number)
	return partitions[number%len(partitions)]
}

func writer(t *check.T, topic string) *kafka.Writer {
	return &kafka.Writer{Addr: kafka.TCP(t.Bootstrap), Topic: topic, Balancer: toItsPartition{},
		BatchTimeout: 5 * time.Millisecond, RequiredAcks: kafka.RequireAll,
		Transport: &kafka.Transport{}}
}

// numbered are messages "0", "1" and so on.
func numbered(from, count int) []kafka.Message {
	messages := make([]kafka.Message, count)
	for number := range messages {
		messages[number] = kafka.Message{Value: fmt.Append(nil, from+number)}
	}
	return messages
}

func write(t *check.T, topic string, messages []kafka.Message) {
	made := writer(t, topic)
	defer made.Close()
	t.Must(made.WriteMessages(t.Context, messages...), "write")
}

func reader(t *check.T, topic string, partition int) *kafka.Reader {
	return kafka.NewReader(kafka.ReaderConfig{Brokers: []string{t.Bootstrap}, Topic: topic,
		Partition: partition, MaxWait: 500 * time.Millisecond, MaxBytes: 10_000_000})
}

func read(t *check.T, from *kafka.Reader, count int) []kafka.Message {
	var found []kafka.Message
	for len(found) < count {
		message, err := from.ReadMessage(t.Context)
		t.Must(err, fmt.Sprintf("read after %d of %d messages", len(found), count))
		found = append(found, message)
	}
	return found
}
