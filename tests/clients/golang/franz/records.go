// Records go out and come back: codecs, acks, keys, headers, times, places to begin at.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"thalweg.test/golang/check"
)

const day = 1_700_000_000_000

var codecs = map[string]kgo.CompressionCodec{
	"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
	"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
}

var attribute = map[string]uint8{"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}

var acksNamed = map[string]kgo.Acks{
	"0": kgo.NoAck(), "1": kgo.LeaderAck(), "all": kgo.AllISRAcks(),
}

func fromStart(topic string, partitions ...int32) kgo.Opt {
	places := map[int32]kgo.Offset{}
	for _, each := range partitions {
		places[each] = kgo.NewOffset().AtStart()
	}
	return kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: places})
}

func roundTrip(t *check.T, codec, acks string) {
	create(t, t.Name, 2, nil)
	var wanted [2][]*kgo.Record
	var all []*kgo.Record
	for number := range 1000 {
		record := &kgo.Record{
			Topic: t.Name, Partition: int32(number % 2),
			Key:       fmt.Appendf(nil, "key-%d", number),
			Value:     append(fmt.Append(nil, number), bytes.Repeat([]byte("x"), number%700)...),
			Timestamp: time.UnixMilli(day + int64(number)),
			Headers: []kgo.RecordHeader{
				{Key: "number", Value: fmt.Append(nil, number)}, {Key: "none", Value: nil}},
		}
		all = append(all, record)
		wanted[number%2] = append(wanted[number%2], record)
	}
	write(t, all, kgo.RequiredAcks(acksNamed[acks]), kgo.DisableIdempotentWrite(),
		kgo.ProducerBatchCompression(codecs[codec]), kgo.ProducerLinger(5*time.Millisecond))
	consumer := client(t, fromStart(t.Name, 0, 1))
	defer consumer.Close()
	found := read(t, consumer, len(all))
	for partition := range int32(2) {
		t.Equal(len(found[partition]), 500, "records of a partition")
		for number, got := range found[partition] {
			sent := wanted[partition][number]
			t.Equal(got.Offset, int64(number), "offset")
			if acks != "0" {
				t.Equal(sent.Offset, got.Offset, "offset that the producer was told")
			}
			t.Equal(string(got.Key), string(sent.Key), "key")
			t.Equal(string(got.Value), string(sent.Value), "value")
			t.Equal(got.Headers, sent.Headers, "headers")
			t.Equal(got.Timestamp, sent.Timestamp, "timestamp")
			t.Equal(got.Attrs.CompressionType(), attribute[codec], "codec")
		}
	}
}

// The producer as it is by default: idempotent, acks=all, partitions by key.
func idempotent(t *check.T, codec string) {
	const count = 4000
	create(t, t.Name, 4, nil)
	producer := client(t, kgo.ProducerBatchCompression(codecs[codec]),
		kgo.DefaultProduceTopic(t.Name), kgo.ProducerBatchMaxBytes(2000))
	defer producer.Close()
	told := make(map[int32][]int64)
	var failed error
	for number := range count {
		producer.Produce(t.Context, &kgo.Record{Key: fmt.Append(nil, number%97),
			Value: fmt.Append(nil, number)}, func(record *kgo.Record, err error) {
			// Promises are kept one after the other.
			failed = errors.Join(failed, err)
			told[record.Partition] = append(told[record.Partition], record.Offset)
		})
	}
	t.Must(producer.Flush(t.Context), "flush")
	t.Must(failed, "produce")
	consumer := client(t, fromStart(t.Name, 0, 1, 2, 3))
	defer consumer.Close()
	last := map[string]int{}
	for partition, records := range read(t, consumer, count) {
		for number, record := range records {
			t.Equal(record.Offset, told[partition][number], "offset that the producer was told")
			t.That(record.ProducerID >= 0, "no producer id: %+v", record)
			var value int
			fmt.Sscan(string(record.Value), &value)
			before, known := last[string(record.Key)]
			t.That(!known || value == before+97, "%d follows %d", value, before)
			last[string(record.Key)] = value
		}
	}
}

func nullAndEmpty(t *check.T) {
	create(t, t.Name, 1, nil)
	write(t, []*kgo.Record{
		{Topic: t.Name, Value: []byte("no key")},
		{Topic: t.Name, Key: []byte("tombstone")},
		{Topic: t.Name, Key: []byte{}, Value: []byte{}},
		{Topic: t.Name, Headers: []kgo.RecordHeader{{Key: "", Value: []byte{}}}},
	})
	consumer := client(t, fromStart(t.Name, 0))
	defer consumer.Close()
	got := read(t, consumer, 4)[0]
	t.That(got[0].Key == nil && string(got[0].Value) == "no key", "null key: %+v", got[0])
	t.That(string(got[1].Key) == "tombstone" && got[1].Value == nil, "null value: %+v", got[1])
	t.That(got[2].Key != nil && len(got[2].Key) == 0 && got[2].Value != nil, "empty: %+v", got[2])
	t.That(got[3].Key == nil && got[3].Value == nil, "nothing: %+v", got[3])
	t.Equal(got[3].Headers, []kgo.RecordHeader{{Key: "", Value: []byte{}}}, "empty header")
}

func appears(t *check.T) {
	producer := client(t, kgo.AllowAutoTopicCreation())
	defer producer.Close()
	t.Must(producer.ProduceSync(t.Context, &kgo.Record{Topic: t.Name,
		Value: []byte("x")}).FirstErr(), "produce")
	consumer := client(t, kgo.ConsumeTopics(t.Name))
	defer consumer.Close()
	for _, records := range read(t, consumer, 1) {
		t.Equal(string(records[0].Value), "x", "value")
	}
}

// begins reads one record from a place, and tells its offset.
func begins(t *check.T, place kgo.Offset) int64 {
	consumer := client(t, kgo.ConsumePartitions(
		map[string]map[int32]kgo.Offset{t.Name: {0: place}}), kgo.FetchMaxWait(time.Second))
	defer consumer.Close()
	fetches := consumer.PollRecords(t.Context, 1)
	t.Must(fetches.Err(), "poll")
	return fetches.Records()[0].Offset
}

func startsAtOffsets(t *check.T) {
	create(t, t.Name, 1, nil)
	write(t, numbered(t.Name, 1, 100))
	at := kgo.NewOffset()
	for wanted, place := range map[int64]kgo.Offset{
		0: at.AtStart(), 42: at.At(42), 99: at.AtEnd().Relative(-1), 5: at.AtStart().Relative(5),
	} {
		t.Equal(begins(t, place), wanted, fmt.Sprint("offset read from ", place))
	}
	// At the end there is nothing, until something comes.
	consumer := client(t, kgo.ConsumePartitions(
		map[string]map[int32]kgo.Offset{t.Name: {0: at.AtEnd()}}))
	defer consumer.Close()
	coming := make(chan int64, 1)
	go func() {
		fetches := consumer.PollRecords(t.Context, 1)
		coming <- fetches.Records()[0].Offset
	}()
	for {
		// The consumer may look for the end after the record, and then wait for the next.
		write(t, numbered(t.Name, 1, 1))
		select {
		case offset := <-coming:
			t.That(offset >= 100, "offset %d lies before the end", offset)
			consumer.SetOffsets(map[string]map[int32]kgo.EpochOffset{
				t.Name: {0: {Epoch: -1, Offset: 7}}})
			again := read(t, consumer, int(end(t))-7)[0]
			t.Equal(again[0].Offset, int64(7), "offset after SetOffsets")
			return
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func end(t *check.T) int64 {
	made := admin(t)
	defer made.Close()
	ends, err := made.ListEndOffsets(t.Context, t.Name)
	t.Must(err, "list end offsets")
	found, _ := ends.Lookup(t.Name, 0)
	return found.Offset
}

func startsAtTimes(t *check.T) {
	create(t, t.Name, 1, nil)
	records := numbered(t.Name, 1, 60)
	for number, record := range records {
		record.Timestamp = time.UnixMilli(day + 1000*int64(number))
	}
	// Batches of a few records each, so that times are found inside of them and between.
	write(t, records, kgo.ProducerBatchMaxBytes(600))
	at := kgo.NewOffset()
	t.Equal(begins(t, at.AfterMilli(day+30_500)), int64(31), "between two records")
	t.Equal(begins(t, at.AfterMilli(day+30_000)), int64(30), "at a record")
	t.Equal(begins(t, at.AfterMilli(day-1)), int64(0), "before all")
	made := admin(t)
	defer made.Close()
	late, err := made.ListOffsetsAfterMilli(t.Context, day+60_000, t.Name)
	t.Must(err, "list offsets")
	found, _ := late.Lookup(t.Name, 0)
	t.Equal(found.Offset, int64(60), "after all is the end")
	highest, err := made.ListMaxTimestampOffsets(t.Context, t.Name)
	t.Must(err, "list max timestamp")
	found, _ = highest.Lookup(t.Name, 0)
	t.Equal([2]int64{found.Offset, found.Timestamp}, [2]int64{59, day + 59_000}, "max timestamp")
}

func pauseAndResume(t *check.T) {
	create(t, t.Name, 2, nil)
	consumer := client(t, fromStart(t.Name, 0))
	defer consumer.Close()
	consumer.PauseFetchPartitions(map[string][]int32{t.Name: {0}})
	consumer.AddConsumePartitions(map[string]map[int32]kgo.Offset{
		t.Name: {1: kgo.NewOffset().AtStart()}})
	write(t, numbered(t.Name, 2, 40))
	t.Equal(len(read(t, consumer, 20)[1]), 20, "records of the partition that is not paused")
	consumer.ResumeFetchPartitions(map[string][]int32{t.Name: {0}})
	t.Equal(len(read(t, consumer, 20)[0]), 20, "records of the resumed one")
	consumer.RemoveConsumePartitions(map[string][]int32{t.Name: {1}})
	write(t, numbered(t.Name, 2, 2))
	t.Equal(len(read(t, consumer, 1)[0]), 1, "records after the removal")
}

// A reader whose place was deleted begins again where the client says, or hears why not.
func truncatedBelowReader(t *check.T) {
	create(t, t.Name, 1, nil)
	write(t, numbered(t.Name, 1, 50))
	made := admin(t)
	defer made.Close()
	_, err := made.DeleteRecords(t.Context, kadm.Offsets{
		t.Name: {0: {Topic: t.Name, Partition: 0, At: 30}}})
	t.Must(err, "delete records")
	t.Equal(begins(t, kgo.NewOffset().At(10)), int64(30), "a deleted offset")
	strict := client(t, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{
		t.Name: {0: kgo.NewOffset().At(10)}}), kgo.ConsumeResetOffset(kgo.NoResetOffset()))
	defer strict.Close()
	err = strict.PollFetches(t.Context).Err()
	t.That(errors.Is(err, kerr.OffsetOutOfRange), "without a reset: %v", err)
}

func bigRecords(t *check.T) {
	create(t, t.Name, 1, map[string]string{"max.message.bytes": "3000000"})
	big := bytes.Repeat([]byte("0123456789"), 250_000)
	records := []*kgo.Record{{Topic: t.Name, Value: big}, {Topic: t.Name, Value: big[:1]},
		{Topic: t.Name, Value: big[5:]}}
	whole := kgo.ProducerBatchMaxBytes(4_000_000)
	write(t, records, whole, kgo.ProducerBatchCompression(kgo.NoCompression()))
	consumer := client(t, fromStart(t.Name, 0), kgo.FetchMaxPartitionBytes(1000))
	defer consumer.Close()
	for number, record := range read(t, consumer, 3)[0] {
		t.That(bytes.Equal(record.Value, records[number].Value), "record %d differs", number)
	}
	producer := client(t, whole, kgo.ProducerBatchCompression(kgo.NoCompression()))
	defer producer.Close()
	err := producer.ProduceSync(t.Context, &kgo.Record{Topic: t.Name,
		Value: bytes.Repeat(big[:10], 350_000)}).FirstErr()
	t.That(errors.Is(err, kerr.MessageTooLarge), "above the topic's limit: %v", err)
}
