// Records go out and come back: codecs, acks, keys, headers, times, the versions of old programs.
package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/IBM/sarama"

	"thalweg.test/golang/check"
)

var codecs = map[string]sarama.CompressionCodec{
	"none": sarama.CompressionNone, "gzip": sarama.CompressionGZIP,
	"snappy": sarama.CompressionSnappy, "lz4": sarama.CompressionLZ4,
	"zstd": sarama.CompressionZSTD,
}

var acksNamed = map[string]sarama.RequiredAcks{
	"0": sarama.NoResponse, "1": sarama.WaitForLocal, "all": sarama.WaitForAll,
}

func roundTrip(t *check.T, codec, acks string) {
	config := settings()
	config.Producer.Compression = codecs[codec]
	config.Producer.RequiredAcks = acksNamed[acks]
	config.Producer.Flush.Frequency = 5 * time.Millisecond
	goAndComeBack(t, config, acks != "0")
}

// goAndComeBack sends a thousand messages with all that they can have, and compares each.
func goAndComeBack(t *check.T, config *sarama.Config, isAnswered bool) {
	create(t, t.Name, 2)
	var messages []*sarama.ProducerMessage
	for number := range 1000 {
		messages = append(messages, &sarama.ProducerMessage{
			Topic: t.Name, Partition: int32(number % 2), Timestamp: at(number),
			Key:   sarama.StringEncoder(fmt.Sprint("key-", number)),
			Value: sarama.StringEncoder(fmt.Sprint(number, strings.Repeat("x", number%700))),
			Headers: []sarama.RecordHeader{{Key: []byte("number"),
				Value: fmt.Append(nil, number)}, {Key: []byte("none")}},
		})
	}
	write(t, messages, config)
	for partition := range 2 {
		for number, got := range read(t, config, int32(partition), sarama.OffsetOldest, 500) {
			sent := messages[number*2+partition]
			t.Equal(got.Offset, int64(number), "offset")
			if isAnswered {
				t.Equal(sent.Offset, got.Offset, "offset that the producer was told")
			}
			t.Equal(sarama.StringEncoder(got.Key), sent.Key, "key")
			t.Equal(sarama.StringEncoder(got.Value), sent.Value, "value")
			t.Equal(got.Timestamp, sent.Timestamp, "timestamp")
			t.Equal(len(got.Headers), 2, "headers")
			t.Equal(string(got.Headers[0].Value), fmt.Sprint(number*2+partition), "header")
			t.That(got.Headers[1].Value == nil, "null header: %v", got.Headers[1].Value)
		}
	}
}

func idempotent(t *check.T, codec string) {
	const count = 3000
	create(t, t.Name, 3)
	config := settings()
	config.Producer.Idempotent = true
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Net.MaxOpenRequests = 1
	config.Producer.Compression = codecs[codec]
	config.Producer.Flush.MaxMessages = 41
	messages := numbered(t.Name, 3, count)
	write(t, messages, config)
	for partition := range int32(3) {
		for number, got := range read(t, config, partition, sarama.OffsetOldest, count/3) {
			t.Equal(got.Offset, int64(number), "offset")
			t.Equal(string(got.Value), fmt.Sprint(number*3+int(partition)), "value")
		}
	}
}

func asyncProducer(t *check.T) {
	const count = 5000
	create(t, t.Name, 4)
	config := settings()
	producer, err := sarama.NewAsyncProducer([]string{t.Bootstrap}, config)
	t.Must(err, "producer")
	go func() {
		for number := range count {
			producer.Input() <- &sarama.ProducerMessage{Topic: t.Name, Metadata: number,
				Key:   sarama.StringEncoder(fmt.Sprint(number % 97)),
				Value: sarama.StringEncoder(fmt.Sprint(number))}
		}
		producer.AsyncClose()
	}()
	told := map[int32]map[int64]string{0: {}, 1: {}, 2: {}, 3: {}}
	// Sarama closes both channels when all is told.
	go func() {
		for range producer.Errors() {
		}
	}()
	for message := range producer.Successes() {
		told[message.Partition][message.Offset] = fmt.Sprint(message.Metadata)
	}
	total := 0
	for partition, offsets := range told {
		total += len(offsets)
		if len(offsets) == 0 {
			continue
		}
		for _, got := range read(t, config, partition, sarama.OffsetOldest, len(offsets)) {
			t.Equal(string(got.Value), offsets[got.Offset], "value")
		}
	}
	t.Equal(total, count, "messages told of")
}

func nullAndEmpty(t *check.T) {
	create(t, t.Name, 1)
	write(t, []*sarama.ProducerMessage{
		{Topic: t.Name, Value: sarama.StringEncoder("no key")},
		{Topic: t.Name, Key: sarama.StringEncoder("tombstone")},
		{Topic: t.Name, Key: sarama.StringEncoder(""), Value: sarama.StringEncoder("")},
	}, settings())
	got := read(t, settings(), 0, sarama.OffsetOldest, 3)
	t.That(got[0].Key == nil && string(got[0].Value) == "no key", "null key: %+v", got[0])
	t.That(string(got[1].Key) == "tombstone" && got[1].Value == nil, "null value: %+v", got[1])
	t.That(got[2].Key != nil && got[2].Value != nil, "empty: %+v", got[2])
}

func appears(t *check.T) {
	write(t, numbered(t.Name, 1, 1), settings())
	t.Equal(string(read(t, settings(), 0, sarama.OffsetOldest, 1)[0].Value), "0", "value")
}

func offsetsAndTimes(t *check.T) {
	create(t, t.Name, 1)
	messages := numbered(t.Name, 1, 60)
	for number, message := range messages {
		message.Timestamp = at(1000 * number)
	}
	write(t, messages, settings())
	client, err := sarama.NewClient([]string{t.Bootstrap}, settings())
	t.Must(err, "client")
	defer client.Close()
	for asked, wanted := range map[int64]int64{
		sarama.OffsetOldest: 0, sarama.OffsetNewest: 60, day + 30_500: 31, day + 30_000: 30,
	} {
		found, err := client.GetOffset(t.Name, 0, asked)
		t.Must(err, "get offset")
		t.Equal(found, wanted, "offset")
	}
	t.Equal(read(t, settings(), 0, 42, 18)[0].Offset, int64(42), "first offset read")
	consumer, err := sarama.NewConsumerFromClient(client)
	t.Must(err, "consumer")
	defer consumer.Close()
	_, err = consumer.ConsumePartition(t.Name, 0, 61)
	t.That(errors.Is(err, sarama.ErrOffsetOutOfRange), "beyond the end: %v", err)
	// From the end on: what is written after the reader has begun.
	reading, err := consumer.ConsumePartition(t.Name, 0, sarama.OffsetNewest)
	t.Must(err, "consume partition")
	defer reading.Close()
	write(t, numbered(t.Name, 1, 1), settings())
	select {
	case message := <-reading.Messages():
		t.Equal(message.Offset, int64(60), "offset at the end")
		t.Equal(reading.HighWaterMarkOffset(), int64(61), "high watermark")
	case <-t.Context.Done():
		t.Fail("nothing came at the end")
	}
}

func tooLarge(t *check.T) {
	create(t, t.Name, 1)
	config := settings()
	config.Producer.MaxMessageBytes = 3_000_000
	config.Producer.Partitioner = sarama.NewManualPartitioner
	producer, err := sarama.NewSyncProducer([]string{t.Bootstrap}, config)
	t.Must(err, "producer")
	defer producer.Close()
	_, _, err = producer.SendMessage(&sarama.ProducerMessage{Topic: t.Name,
		Value: sarama.ByteEncoder(make([]byte, 2_000_000))})
	t.That(errors.Is(err, sarama.ErrMessageSizeTooLarge), "above the topic's limit: %v", err)
	_, offset, err := producer.SendMessage(numbered(t.Name, 1, 1)[0])
	t.Must(err, "send after a refusal")
	t.Equal(offset, int64(0), "offset")
}

// A program that has told Sarama an older version: it produces, reads, joins a group and commits
// by the requests of that time, as far as Kafka 4 still takes them.
func asForKafka(t *check.T, version sarama.KafkaVersion) {
	config := settings()
	config.Version = version
	goAndComeBack(t, config, true)
	config = settings()
	config.Version = version
	config.Consumer.Group.Heartbeat.Interval = 500 * time.Millisecond
	one := join(t, t.Name, config)
	one.await(1000)
	one.leave()
	made := admin(t, config)
	defer made.Close()
	groups, err := made.DescribeConsumerGroups([]string{t.Name})
	t.Must(err, "describe group")
	t.Equal(groups[0].State, "Empty", "state of the group that was left")
	fetched, err := made.ListConsumerGroupOffsets(t.Name, map[string][]int32{t.Name: {0, 1}})
	t.Must(err, "offsets of the group")
	for partition := range int32(2) {
		t.Equal(fetched.GetBlock(t.Name, partition).Offset, int64(500), "committed")
	}
	t.Must(made.DeleteRecords(t.Name, map[int32]int64{0: 100}), "delete records")
	t.Equal(read(t, config, 0, sarama.OffsetOldest, 1)[0].Offset, int64(100), "first offset")
	if version == sarama.V0_11_0_0 {
		// It asks for settings in a version that Kafka 4 takes no longer, and deletes no groups.
		return
	}
	topics, err := made.ListTopics()
	t.Must(err, "list topics")
	t.Equal(int(topics[t.Name].NumPartitions), 2, "partitions")
	t.Must(made.DeleteConsumerGroup(t.Name), "delete group")
	t.Must(made.DeleteTopic(t.Name), "delete topic")
}
