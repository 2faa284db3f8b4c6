// Groups of Sarama: members come and go, each record is told once, offsets are kept.
package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"thalweg.test/golang/check"
)

var strategies = map[string]sarama.BalanceStrategy{
	"range": sarama.NewBalanceStrategyRange(), "round-robin": sarama.NewBalanceStrategyRoundRobin(),
	"sticky":             sarama.NewBalanceStrategySticky(),
	"cooperative-sticky": sarama.NewBalanceStrategyCooperativeSticky(),
}

// told is what the members of one group have read, and which partitions they read now.
type told struct {
	t       *check.T
	lock    sync.Mutex
	news    *sync.Cond
	claims  map[int32]*member
	offsets map[int32][]int64
	wrong   []string
}

type member struct {
	*told
	topic string
	inner sarama.ConsumerGroup
	stop  context.CancelFunc
	done  chan struct{}
}

func newTold(t *check.T) *told {
	made := &told{t: t, claims: map[int32]*member{}, offsets: map[int32][]int64{}}
	made.news = sync.NewCond(&made.lock)
	context.AfterFunc(t.Context, made.news.Broadcast)
	return made
}

// join starts a member that is alone in its group.
func join(t *check.T, topic string, config *sarama.Config) *member {
	return newTold(t).join(topic, config)
}

func (all *told) join(topic string, config *sarama.Config) *member {
	inner, err := sarama.NewConsumerGroup([]string{all.t.Bootstrap}, all.t.Name, config)
	all.t.Must(err, "consumer group")
	one := &member{told: all, topic: topic, inner: inner, done: make(chan struct{})}
	var reading context.Context
	reading, one.stop = context.WithCancel(all.t.Context)
	go one.run(reading)
	go func() {
		for err := range inner.Errors() {
			all.complain("member: %v", err)
		}
	}()
	return one
}

func (one *member) run(reading context.Context) {
	defer close(one.done)
	for reading.Err() == nil {
		if err := one.inner.Consume(reading, []string{one.topic}, one); err != nil &&
			reading.Err() == nil {
			one.complain("consume: %v", err)
		}
	}
}

// Setup, Cleanup and ConsumeClaim are what Sarama calls.
func (one *member) Setup(sarama.ConsumerGroupSession) error { return nil }

func (one *member) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (one *member) ConsumeClaim(session sarama.ConsumerGroupSession,
	claim sarama.ConsumerGroupClaim) error {
	partition := claim.Partition()
	one.lock.Lock()
	if one.claims[partition] != nil {
		one.wrong = append(one.wrong, fmt.Sprintf("partition %d has two owners", partition))
	}
	one.claims[partition] = one
	one.lock.Unlock()
	one.news.Broadcast()
	defer one.news.Broadcast()
	defer func() {
		one.lock.Lock()
		defer one.lock.Unlock()
		delete(one.claims, partition)
	}()
	for message := range claim.Messages() {
		one.lock.Lock()
		one.offsets[partition] = append(one.offsets[partition], message.Offset)
		one.lock.Unlock()
		session.MarkMessage(message, "")
		one.news.Broadcast()
	}
	return nil
}

func (one *member) leave() {
	one.stop()
	<-one.done
	one.t.Must(one.inner.Close(), "close member")
}

func (all *told) complain(format string, arguments ...any) {
	all.lock.Lock()
	defer all.lock.Unlock()
	all.wrong = append(all.wrong, fmt.Sprintf(format, arguments...))
}

func (all *told) until(what string, holds func() bool) {
	all.lock.Lock()
	defer all.lock.Unlock()
	for !holds() {
		all.t.That(all.t.Context.Err() == nil, "%s: not in time; told %v, wrong %q", what,
			all.offsets, all.wrong)
		all.news.Wait()
	}
}

// await waits until so many messages were told in all.
func (all *told) await(count int) {
	all.until(fmt.Sprintf("%d messages", count), func() bool {
		total := 0
		for _, offsets := range all.offsets {
			total += len(offsets)
		}
		return total >= count
	})
}

// share waits until these read so many partitions evenly.
func (all *told) share(partitions int, who ...*member) {
	all.until(fmt.Sprintf("%d members share %d partitions", len(who), partitions), func() bool {
		sizes := map[*member]int{}
		for _, owner := range all.claims {
			sizes[owner]++
		}
		for _, each := range who {
			if sizes[each] != partitions/len(who) {
				return false
			}
		}
		return len(all.claims) == partitions
	})
}

// once checks that each offset of each partition was told once and in order.
func (all *told) once(partitions, count int) {
	all.await(partitions * count)
	all.lock.Lock()
	defer all.lock.Unlock()
	for partition := range int32(partitions) {
		all.t.Equal(len(all.offsets[partition]), count, fmt.Sprint("messages of ", partition))
		for number, offset := range all.offsets[partition] {
			all.t.Equal(offset, int64(number), fmt.Sprint("offset of ", partition))
		}
	}
	all.t.That(len(all.wrong) == 0, "%q", all.wrong)
}

func group(t *check.T, strategy sarama.BalanceStrategy) {
	create(t, t.Name, 6)
	write(t, numbered(t.Name, 6, 600), settings())
	config := settings()
	config.Consumer.Group.Heartbeat.Interval = 300 * time.Millisecond
	config.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{strategy}
	all := newTold(t)
	first := all.join(t.Name, config)
	all.share(6, first)
	all.once(6, 100)
	second := all.join(t.Name, config)
	all.share(6, first, second)
	write(t, numbered(t.Name, 6, 60), settings())
	third := all.join(t.Name, config)
	all.share(6, first, second, third)
	write(t, numbered(t.Name, 6, 60), settings())
	all.once(6, 120)
	describes(t, strategy.Name())
	second.leave()
	all.share(6, first, third)
	write(t, numbered(t.Name, 6, 60), settings())
	all.once(6, 130)
	first.leave()
	third.leave()
	write(t, numbered(t.Name, 6, 60), settings())
	last := all.join(t.Name, config)
	all.once(6, 140)
	last.leave()
}

func describes(t *check.T, strategy string) {
	made := admin(t, settings())
	defer made.Close()
	groups, err := made.DescribeConsumerGroups([]string{t.Name})
	t.Must(err, "describe group")
	t.Equal([]any{groups[0].State, groups[0].Protocol, len(groups[0].Members)},
		[]any{"Stable", strategy, 3}, "group")
	assigned := 0
	for _, member := range groups[0].Members {
		metadata, err := member.GetMemberMetadata()
		t.Must(err, "member metadata")
		t.Equal(metadata.Topics, []string{t.Name}, "topics of a member")
		assignment, err := member.GetMemberAssignment()
		t.Must(err, "member assignment")
		assigned += len(assignment.Topics[t.Name])
	}
	t.Equal(assigned, 6, "assigned partitions")
	listed, err := made.ListConsumerGroups()
	t.Must(err, "list groups")
	t.Equal(listed[t.Name], "consumer", "type of the listed group")
	t.Refused(made.DeleteConsumerGroup(t.Name), "deletion of a group with members")
}

func staticMember(t *check.T) {
	create(t, t.Name, 2)
	write(t, numbered(t.Name, 2, 20), settings())
	all := newTold(t)
	named := func(name string) *member {
		config := settings()
		config.Consumer.Group.Heartbeat.Interval = 300 * time.Millisecond
		config.Consumer.Group.InstanceId = name
		return all.join(t.Name, config)
	}
	first := named("one")
	all.share(2, first)
	second := named("two")
	all.share(2, first, second)
	all.once(2, 10)
	second.leave()
	write(t, numbered(t.Name, 2, 20), settings())
	third := named("two")
	all.share(2, first, third)
	all.once(2, 20)
	third.leave()
	made := admin(t, settings())
	defer made.Close()
	left, err := made.RemoveMemberFromConsumerGroup(t.Name, []string{"two", "nobody"})
	t.Must(err, "remove members")
	t.Equal([]sarama.KError{left.Members[0].Err, left.Members[1].Err},
		[]sarama.KError{sarama.ErrNoError, sarama.ErrUnknownMemberId}, "removed members")
	all.share(2, first)
	first.leave()
}

func offsetManager(t *check.T) {
	create(t, t.Name, 1)
	client, err := sarama.NewClient([]string{t.Bootstrap}, settings())
	t.Must(err, "client")
	defer client.Close()
	for round := range int64(2) {
		offsets, err := sarama.NewOffsetManagerFromClient(t.Name, client)
		t.Must(err, "offset manager")
		partition, err := offsets.ManagePartition(t.Name, 0)
		t.Must(err, "manage partition")
		next, metadata := partition.NextOffset()
		t.Equal([]any{next, metadata}, [][]any{{sarama.OffsetOldest, ""},
			{int64(17), "note"}}[round], "next offset")
		partition.MarkOffset(17, "note")
		offsets.Commit()
		t.Must(partition.Close(), "close partition")
		t.Must(offsets.Close(), "close offset manager")
	}
}
