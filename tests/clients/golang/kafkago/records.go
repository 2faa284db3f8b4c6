// Writer and Reader: codecs, acks, keys, headers, times, places to begin at, groups.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"

	"thalweg.test/golang/check"
)

var codecs = map[string]kafka.Compression{
	"none": 0, "gzip": kafka.Gzip, "snappy": kafka.Snappy, "lz4": kafka.Lz4, "zstd": kafka.Zstd,
}

var acksNamed = map[string]kafka.RequiredAcks{
	"0": kafka.RequireNone, "1": kafka.RequireOne, "all": kafka.RequireAll,
}

func roundTrip(t *check.T, codec, acks string) {
	create(t, t.Name, 2)
	made := writer(t, t.Name)
	made.Compression = codecs[codec]
	made.RequiredAcks = acksNamed[acks]
	var messages []kafka.Message
	for number := range 1000 {
		messages = append(messages, kafka.Message{Time: at(number),
			Key:   fmt.Append(nil, "key-", number),
			Value: fmt.Append(nil, number, " ", strings.Repeat("x", number%700)),
			Headers: []kafka.Header{{Key: "number", Value: fmt.Append(nil, number)},
				{Key: "empty", Value: []byte{}}}})
	}
	t.Must(made.WriteMessages(t.Context, messages...), "write")
	t.Must(made.Close(), "close writer")
	for partition := range 2 {
		from := reader(t, t.Name, partition)
		defer from.Close()
		found := read(t, from, 500)
		for number, got := range found {
			t.Equal(got.Offset, int64(number), "offset")
		}
		if acks == "0" {
			// Unanswered batches go out by any connection that is free, and overtake each other.
			slices.SortFunc(found, func(one, other kafka.Message) int {
				return one.Time.Compare(other.Time)
			})
		}
		for number, got := range found {
			sent := messages[2*number+partition]
			t.Equal(string(got.Key), string(sent.Key), "key")
			t.Equal(string(got.Value), string(sent.Value), "value")
			t.That(got.Time.Equal(sent.Time), "time: %v instead of %v", got.Time, sent.Time)
			t.Equal(len(got.Headers), 2, "headers")
			for place, header := range got.Headers {
				t.Equal(header.Key, sent.Headers[place].Key, "key of a header")
				t.Equal(string(header.Value), string(sent.Headers[place].Value), "header")
			}
		}
	}
}

func nullAndEmpty(t *check.T) {
	create(t, t.Name, 1)
	write(t, t.Name, []kafka.Message{{Value: []byte("no key")}, {Key: []byte("tombstone")},
		{Key: []byte{}, Value: []byte{}}})
	from := reader(t, t.Name, 0)
	defer from.Close()
	got := read(t, from, 3)
	t.That(got[0].Key == nil && string(got[0].Value) == "no key", "null key: %+v", got[0])
	t.That(string(got[1].Key) == "tombstone" && got[1].Value == nil, "null value: %+v", got[1])
	t.That(len(got[2].Key) == 0 && len(got[2].Value) == 0, "empty: %+v", got[2])
}

func appears(t *check.T) {
	made := writer(t, t.Name)
	defer made.Close()
	made.AllowAutoTopicCreation = true
	// As its documentation says: the first attempts fail while the topic is being made.
	t.Until("first message", func() bool {
		err := made.WriteMessages(t.Context, numbered(0, 1)...)
		t.That(err == nil || errors.Is(err, kafka.LeaderNotAvailable) ||
			errors.Is(err, kafka.UnknownTopicOrPartition), "write: %v", err)
		return err == nil
	})
	from := reader(t, t.Name, 0)
	defer from.Close()
	t.Equal(string(read(t, from, 1)[0].Value), "0", "value")
}

func readerOffsets(t *check.T) {
	create(t, t.Name, 1)
	messages := numbered(0, 60)
	for number := range messages {
		messages[number].Time = at(1000 * number)
	}
	write(t, t.Name, messages)
	from := reader(t, t.Name, 0)
	defer from.Close()
	next := func() int64 { return read(t, from, 1)[0].Offset }
	t.Must(from.SetOffset(42), "set offset")
	t.Equal(next(), int64(42), "at an offset")
	t.Must(from.SetOffsetAt(t.Context, at(30_500)), "set offset at a time")
	t.Equal(next(), int64(31), "at a time")
	t.Must(from.SetOffset(kafka.FirstOffset), "set offset")
	t.Equal(next(), int64(0), "at the start")
	lag, err := from.ReadLag(t.Context)
	t.Must(err, "lag")
	t.Equal(lag, int64(59), "lag")
	t.Must(from.SetOffset(60), "set offset")
	write(t, t.Name, numbered(0, 1))
	t.Equal(next(), int64(60), "at the end")
	// What lies beyond the end is told by an error, if one asks for it.
	strict := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{t.Bootstrap}, Topic: t.Name,
		OffsetOutOfRangeError: true, MaxWait: time.Second})
	defer strict.Close()
	t.Must(strict.SetOffset(1000), "set offset")
	_, err = strict.ReadMessage(t.Context)
	t.That(errors.Is(err, kafka.OffsetOutOfRange), "beyond the end: %v", err)
}

func tooLarge(t *check.T) {
	create(t, t.Name, 1)
	made := writer(t, t.Name)
	defer made.Close()
	made.BatchBytes = 3_000_000
	err := made.WriteMessages(t.Context, kafka.Message{Value: make([]byte, 2_000_000)})
	var all kafka.WriteErrors
	t.That(errors.As(err, &all) && errors.Is(all[0], kafka.MessageSizeTooLarge),
		"above the topic's limit: %v", err)
	t.Must(made.WriteMessages(t.Context, numbered(0, 1)...), "write after a refusal")
}

// seen is what the members of a group were told.
type seen struct {
	lock    sync.Mutex
	news    *sync.Cond
	offsets map[int][]int64
	by      map[string]map[int]bool
	wrong   []string
}

type member struct {
	*kafka.Reader
	stop context.CancelFunc
	done chan struct{}
}

func (all *seen) start(t *check.T, name string, balancer kafka.GroupBalancer) *member {
	reading, stop := context.WithCancel(t.Context)
	one := &member{stop: stop, done: make(chan struct{}),
		Reader: kafka.NewReader(kafka.ReaderConfig{Brokers: []string{t.Bootstrap},
			GroupID: t.Name, Topic: t.Name, StartOffset: kafka.FirstOffset,
			GroupBalancers: []kafka.GroupBalancer{balancer}, MaxWait: 200 * time.Millisecond,
			HeartbeatInterval: 300 * time.Millisecond, JoinGroupBackoff: 200 * time.Millisecond,
		})}
	go func() {
		defer close(one.done)
		for {
			message, err := one.FetchMessage(reading)
			if err == nil {
				err = one.CommitMessages(t.Context, message)
			}
			all.lock.Lock()
			if err == nil {
				all.offsets[message.Partition] = append(all.offsets[message.Partition],
					message.Offset)
				if all.by[name] == nil {
					all.by[name] = map[int]bool{}
				}
				all.by[name][message.Partition] = true
			} else if reading.Err() == nil {
				all.wrong = append(all.wrong, err.Error())
			}
			all.lock.Unlock()
			all.news.Broadcast()
			if err != nil && (reading.Err() != nil || errors.Is(err, io.EOF)) {
				return
			}
		}
	}()
	return one
}

func (one *member) leave(t *check.T) {
	one.stop()
	<-one.done
	t.Must(one.Close(), "close member")
}

// until waits for something that members are told.
func (all *seen) until(t *check.T, what string, holds func() bool) {
	all.lock.Lock()
	defer all.lock.Unlock()
	for !holds() {
		t.That(t.Context.Err() == nil, "%s: not in time: %v, by %v, wrong %q", what,
			all.offsets, all.by, all.wrong)
		all.news.Wait()
	}
}

// A member may be told again what another has read and not yet committed when it had to stop, and
// nothing is left out.
func (all *seen) complete(t *check.T, count int) {
	all.until(t, fmt.Sprintf("%d records of each", count), func() bool {
		for partition := range 4 {
			distinct := slices.Clone(all.offsets[partition])
			slices.Sort(distinct)
			if len(slices.Compact(distinct)) < count {
				return false
			}
		}
		return true
	})
}

func group(t *check.T, balancer kafka.GroupBalancer) {
	create(t, t.Name, 4)
	write(t, t.Name, numbered(0, 200))
	all := &seen{offsets: map[int][]int64{}, by: map[string]map[int]bool{}}
	all.news = sync.NewCond(&all.lock)
	defer context.AfterFunc(t.Context, all.news.Broadcast)()
	first := all.start(t, "first", balancer)
	all.complete(t, 50)
	second := all.start(t, "second", balancer)
	written := 200
	shares := func(name string, count int) {
		made := client(t)
		defer closed(made)
		t.Until("members share", func() bool {
			groups, err := made.DescribeGroups(t.Context,
				&kafka.DescribeGroupsRequest{GroupIDs: []string{t.Name}})
			if errors.Is(err, kafka.BrokerNotAvailable) {
				// Kafka's coordinator is not there yet.
				return false
			}
			t.Must(err, "describe group")
			assigned := 0
			for _, one := range groups.Groups[0].Members {
				for _, topic := range one.MemberAssignments.Topics {
					assigned += len(topic.Partitions)
				}
			}
			return groups.Groups[0].GroupState == "Stable" && assigned == 4 &&
				len(groups.Groups[0].Members) == count
		})
		all.lock.Lock()
		all.by = map[string]map[int]bool{}
		all.lock.Unlock()
		write(t, t.Name, numbered(written, 40))
		written += 40
		all.complete(t, written/4)
		all.until(t, name, func() bool { return len(all.by[name]) == 4/count })
	}
	shares("second", 2)
	first.leave(t)
	shares("second", 1)
	second.leave(t)
	made := client(t)
	defer closed(made)
	offsets, err := made.ConsumerOffsets(t.Context, kafka.TopicAndGroup{Topic: t.Name,
		GroupId: t.Name})
	t.Must(err, "consumer offsets")
	t.Equal(offsets, map[int]int64{0: 70, 1: 70, 2: 70, 3: 70}, "committed")
}

// The lower half of a group: generations, their assignments and commits by hand.
func generations(t *check.T) {
	create(t, t.Name, 2)
	write(t, t.Name, numbered(0, 20))
	made, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{ID: t.Name,
		Brokers: []string{t.Bootstrap}, Topics: []string{t.Name},
		StartOffset: kafka.FirstOffset, HeartbeatInterval: 300 * time.Millisecond})
	t.Must(err, "consumer group")
	defer made.Close()
	var generation *kafka.Generation
	t.Until("generation", func() bool {
		generation, err = made.Next(t.Context)
		// Kafka's coordinator may not be there yet.
		t.That(err == nil || errors.Is(err, kafka.NotCoordinatorForGroup) ||
			errors.Is(err, kafka.GroupCoordinatorNotAvailable) ||
			errors.Is(err, kafka.GroupLoadInProgress), "next generation: %v", err)
		return err == nil
	})
	assigned := generation.Assignments[t.Name]
	t.Equal(len(assigned), 2, "assigned partitions")
	t.Equal(assigned[0].Offset, kafka.FirstOffset, "offset that was never committed")
	t.Must(generation.CommitOffsets(map[string]map[int]int64{t.Name: {0: 3, 1: 4}}), "commit")
	t.Must(made.Close(), "leave")
	offsets, err := client(t).ConsumerOffsets(t.Context, kafka.TopicAndGroup{Topic: t.Name,
		GroupId: t.Name})
	t.Must(err, "consumer offsets")
	t.Equal(offsets, map[int]int64{0: 3, 1: 4}, "committed")
}
