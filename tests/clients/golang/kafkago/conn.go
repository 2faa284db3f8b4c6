// Conn: one connection, on which each call is one request, in old versions.
package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/segmentio/kafka-go"

	"thalweg.test/golang/check"
)

func dial(t *check.T) *kafka.Conn {
	made, err := kafka.DialContext(t.Context, "tcp", t.Bootstrap)
	t.Must(err, "dial")
	return made
}

func connTopics(t *check.T) {
	made := dial(t)
	defer made.Close()
	versions, err := made.ApiVersions()
	t.Must(err, "api versions")
	t.That(len(versions) > 30, "%d APIs", len(versions))
	brokers, err := made.Brokers()
	t.Must(err, "brokers")
	t.Equal(len(brokers), 1, "brokers")
	controller, err := made.Controller()
	t.Must(err, "controller")
	t.Equal(net.JoinHostPort(controller.Host, fmt.Sprint(controller.Port)), t.Bootstrap,
		"address of the controller")
	t.Must(made.CreateTopics(kafka.TopicConfig{Topic: t.Name, NumPartitions: 3,
		ReplicationFactor: 1, ConfigEntries: []kafka.ConfigEntry{
			{ConfigName: "retention.ms", ConfigValue: "60000"}}}), "create topics")
	t.Until("partitions", func() bool {
		partitions, err := made.ReadPartitions(t.Name)
		return err == nil && len(partitions) == 3 && partitions[0].Leader.ID == brokers[0].ID
	})
	all, err := made.ReadPartitions()
	t.Must(err, "all partitions")
	t.That(len(all) >= 3, "%d partitions in all", len(all))
	_, err = made.ReadPartitions("a/b")
	t.That(errors.Is(err, kafka.InvalidTopic), "partitions of a bad name: %v", err)
	t.Must(made.DeleteTopics(t.Name), "delete topics")
	err = made.DeleteTopics(t.Name + "-nowhere")
	t.That(errors.Is(err, kafka.UnknownTopicOrPartition), "delete nothing: %v", err)
}

func leader(t *check.T) *kafka.Conn {
	made, err := kafka.DialLeader(t.Context, "tcp", t.Bootstrap, t.Name, 0)
	t.Must(err, "dial leader")
	t.Must(made.SetDeadline(time.Now().Add(30*time.Second)), "set deadline")
	return made
}

func connRecords(t *check.T) {
	create(t, t.Name, 1)
	made := leader(t)
	defer made.Close()
	_, err := made.WriteMessages(kafka.Message{Key: []byte("k"), Value: []byte("one"),
		Time: at(1)}, kafka.Message{Value: []byte("two"), Time: at(2),
		Headers: []kafka.Header{{Key: "h", Value: []byte("v")}}})
	t.Must(err, "write messages")
	_, _, offset, _, err := made.WriteCompressedMessagesAt(kafka.Zstd.Codec(),
		kafka.Message{Value: []byte("three")}, kafka.Message{Value: []byte("four")})
	t.Must(err, "write compressed messages")
	t.Equal(offset, int64(2), "offset that the producer was told")
	_, err = made.Write([]byte("five"))
	t.Must(err, "write")
	batch := made.ReadBatch(1, 1_000_000)
	t.Equal(batch.HighWaterMark(), int64(5), "high watermark")
	for number, wanted := range []string{"one", "two", "three", "four", "five"} {
		message, err := batch.ReadMessage()
		if err == io.EOF {
			// The rest comes with the next batch.
			t.Must(batch.Close(), "close batch")
			batch = made.ReadBatch(1, 1_000_000)
			message, err = batch.ReadMessage()
		}
		t.Must(err, "read message")
		t.Equal([]any{string(message.Value), message.Offset}, []any{wanted, int64(number)}, "read")
	}
	t.Must(batch.Close(), "close batch")
	// Nothing more, for as long as the reader waits.
	batch = made.ReadBatchWith(kafka.ReadBatchConfig{MinBytes: 1, MaxBytes: 1000,
		MaxWait: 100 * time.Millisecond})
	_, err = batch.ReadMessage()
	t.That(errors.Is(err, kafka.RequestTimedOut), "read at the end: %v", err)
}

func connSeek(t *check.T) {
	create(t, t.Name, 1)
	messages := numbered(0, 60)
	for number := range messages {
		messages[number].Time = at(1000 * number)
	}
	made := leader(t)
	defer made.Close()
	_, err := made.WriteMessages(messages...)
	t.Must(err, "write messages")
	first, last, err := made.ReadOffsets()
	t.Must(err, "read offsets")
	t.Equal([]int64{first, last}, []int64{0, 60}, "offsets")
	found, err := made.ReadOffset(at(30_500))
	t.Must(err, "read offset")
	t.Equal(found, int64(31), "offset at a time")
	for _, seek := range []struct {
		offset int64
		whence int
		wanted int64
	}{{7, kafka.SeekStart, 7}, {10, kafka.SeekEnd, 50}, {5, kafka.SeekCurrent, 55},
		{42, kafka.SeekAbsolute, 42}} {
		at, err := made.Seek(seek.offset, seek.whence)
		t.Must(err, "seek")
		t.Equal(at, seek.wanted, "place")
		message, err := made.ReadMessage(1_000_000)
		t.Must(err, "read message")
		t.Equal(string(message.Value), fmt.Sprint(seek.wanted), "value")
		_, err = made.Seek(seek.wanted, kafka.SeekAbsolute)
		t.Must(err, "seek back")
	}
	_, err = made.Seek(61, kafka.SeekAbsolute)
	t.That(errors.Is(err, kafka.OffsetOutOfRange), "seek beyond the end: %v", err)
}
