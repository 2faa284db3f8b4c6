// Groups of kgo: members come and go, each record is told once, offsets are kept.
package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"thalweg.test/golang/check"
)

type groupKind struct {
	name     string
	protocol string // of the assignment, as the group describes itself
	isNew    bool   // KIP-848
	balancer kgo.GroupBalancer
}

var groupKinds = []groupKind{
	{"cooperative-sticky", "cooperative-sticky", false, kgo.CooperativeStickyBalancer()},
	{"sticky", "sticky", false, kgo.StickyBalancer()},
	{"range", "range", false, kgo.RangeBalancer()},
	{"round-robin", "roundrobin", false, kgo.RoundRobinBalancer()},
	{"kip-848-uniform", "uniform", true, kgo.StickyBalancer()},
	{"kip-848-range", "range", true, kgo.RangeBalancer()},
}

func (kind groupKind) options(group string) []kgo.Opt {
	options := []kgo.Opt{kgo.ConsumerGroup(group), kgo.Balancers(kind.balancer),
		kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(),
		kgo.HeartbeatInterval(500 * time.Millisecond),
		kgo.SessionTimeout(20 * time.Second), kgo.RebalanceTimeout(20 * time.Second),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())}
	if kind.isNew {
		options = append(options, kgo.ServerSideBalancer())
	}
	return options
}

type place struct {
	topic     string
	partition int32
}

// members are those of one group, and all that they were told.
type members struct {
	t    *check.T
	kind groupKind

	lock  sync.Mutex
	news  *sync.Cond
	owner map[place]*member
	told  map[place][]int64
	wrong []string
}

type member struct {
	all    *members
	client *kgo.Client
	stop   context.CancelFunc
	done   chan struct{}
}

func newMembers(t *check.T, kind groupKind) *members {
	made := &members{t: t, kind: kind, owner: map[place]*member{}, told: map[place][]int64{}}
	made.news = sync.NewCond(&made.lock)
	context.AfterFunc(t.Context, made.news.Broadcast)
	return made
}

func (all *members) start(options ...kgo.Opt) *member {
	one := &member{all: all, done: make(chan struct{})}
	options = append(all.kind.options(all.t.Name), options...)
	options = append(options,
		kgo.OnPartitionsAssigned(one.assigned), kgo.OnPartitionsRevoked(one.revoked),
		kgo.OnPartitionsLost(one.revoked))
	one.client = client(all.t, options...)
	var polling context.Context
	polling, one.stop = context.WithCancel(all.t.Context)
	go one.run(polling)
	return one
}

func (one *member) assigned(_ context.Context, _ *kgo.Client, added map[string][]int32) {
	one.all.lock.Lock()
	defer one.all.lock.Unlock()
	for topic, partitions := range added {
		for _, partition := range partitions {
			if one.all.owner[place{topic, partition}] != nil {
				one.all.complain("%s-%d has two owners", topic, partition)
			}
			one.all.owner[place{topic, partition}] = one
		}
	}
	one.all.news.Broadcast()
}

func (one *member) revoked(_ context.Context, _ *kgo.Client, lost map[string][]int32) {
	one.all.lock.Lock()
	defer one.all.lock.Unlock()
	for topic, partitions := range lost {
		for _, partition := range partitions {
			if one.all.owner[place{topic, partition}] == one {
				delete(one.all.owner, place{topic, partition})
			}
		}
	}
	one.all.news.Broadcast()
}

func (all *members) complain(format string, arguments ...any) {
	all.wrong = append(all.wrong, fmt.Sprintf(format, arguments...))
}

// run commits what it was told before a rebalance may begin.
func (one *member) run(polling context.Context) {
	defer close(one.done)
	for polling.Err() == nil {
		fetches := one.client.PollFetches(polling)
		one.all.lock.Lock()
		fetches.EachError(func(topic string, partition int32, err error) {
			if polling.Err() == nil {
				one.all.complain("poll of %s-%d: %v", topic, partition, err)
			}
		})
		fetches.EachRecord(func(record *kgo.Record) {
			from := place{record.Topic, record.Partition}
			one.all.told[from] = append(one.all.told[from], record.Offset)
		})
		one.all.lock.Unlock()
		if fetches.NumRecords() > 0 {
			if err := one.client.CommitUncommittedOffsets(one.all.t.Context); err != nil {
				one.all.lock.Lock()
				one.all.complain("commit: %v", err)
				one.all.lock.Unlock()
			}
		}
		one.client.AllowRebalance()
		one.all.news.Broadcast()
	}
}

func (one *member) leave() {
	one.stop()
	<-one.done
	one.client.CloseAllowingRebalance()
}

// until waits for something that the members are told.
func (all *members) until(what string, holds func() bool) {
	all.lock.Lock()
	defer all.lock.Unlock()
	for !holds() {
		if all.t.Context.Err() != nil {
			sizes := map[*member]int{}
			for _, owner := range all.owner {
				sizes[owner]++
			}
			all.t.Fail("%s: not in time; shares %v, told %v, wrong %q", what, sizes, all.told,
				all.wrong)
		}
		all.news.Wait()
	}
}

// share waits until these share so many partitions evenly.
func (all *members) share(count int, who ...*member) {
	all.until(fmt.Sprintf("%d members share %d partitions", len(who), count), func() bool {
		sizes := map[*member]int{}
		for _, owner := range all.owner {
			sizes[owner]++
		}
		return len(all.owner) == count && !slices.ContainsFunc(who, func(each *member) bool {
			return sizes[each] != count/len(who)
		})
	})
}

// once waits until the first so many offsets of each partition of a topic were told, each once
// and in order.
func (all *members) once(topic string, partitions, count int) {
	wanted := make([]int64, count)
	for number := range wanted {
		wanted[number] = int64(number)
	}
	for partition := range partitions {
		from := place{topic, int32(partition)}
		all.until(fmt.Sprintf("%d records of %v", count, from), func() bool {
			return len(all.told[from]) >= count
		})
		all.lock.Lock()
		got := slices.Clone(all.told[from])
		all.lock.Unlock()
		all.t.Equal(got, wanted, fmt.Sprintf("offsets told of %v", from))
	}
	all.lock.Lock()
	defer all.lock.Unlock()
	all.t.That(len(all.wrong) == 0, "%q", all.wrong)
}

func group(t *check.T, kind groupKind) {
	create(t, t.Name, 6, nil)
	write(t, numbered(t.Name, 6, 600))
	all := newMembers(t, kind)
	topic := kgo.ConsumeTopics(t.Name)
	first := all.start(topic)
	defer first.leave()
	all.share(6, first)
	all.once(t.Name, 6, 100)
	second := all.start(topic)
	all.share(6, first, second)
	write(t, numbered(t.Name, 6, 60))
	third := all.start(topic)
	defer third.leave()
	all.share(6, first, second, third)
	write(t, numbered(t.Name, 6, 60))
	all.once(t.Name, 6, 120)
	described(t, kind, 3)
	second.leave()
	all.share(6, first, third)
	write(t, numbered(t.Name, 6, 60))
	all.once(t.Name, 6, 130)
	first.leave()
	third.leave()

	// Whoever comes later goes on where they were.
	write(t, numbered(t.Name, 6, 60))
	lagsBehind(t, kind, 60)
	last := all.start(topic)
	all.once(t.Name, 6, 140)
	lagsBehind(t, kind, 0)
	refusesDeletion(t)
	last.leave()
	lagsBehind(t, kind, 0)
	deleteGroup(t)
}

func described(t *check.T, kind groupKind, count int) {
	made := admin(t)
	defer made.Close()
	listed, err := made.ListGroups(t.Context, "Stable")
	t.Must(err, "list groups")
	_, isListed := listed[t.Name]
	t.That(isListed, "not among the stable groups: %v", listed.Groups())
	if !kind.isNew {
		groups, err := made.DescribeGroups(t.Context, t.Name)
		t.Must(err, "describe groups")
		one := groups[t.Name]
		t.Must(one.Err, "describe group")
		t.Equal([]any{one.State, one.ProtocolType, one.Protocol, len(one.Members)},
			[]any{"Stable", "consumer", kind.protocol, count}, "group")
		t.Equal(len(one.AssignedPartitions()[t.Name]), 6, "assigned partitions")
		return
	}
	byType, err := made.ListGroupsByType(t.Context, []string{"consumer"})
	t.Must(err, "list groups by type")
	t.Equal(byType[t.Name].State, "Stable", "state of the group of its type")
	groups, err := made.DescribeConsumerGroups(t.Context, t.Name)
	t.Must(err, "describe consumer groups")
	one := groups[t.Name]
	t.Must(one.Err, "describe consumer group")
	t.Equal([]any{one.State, one.AssignorName, len(one.Members)},
		[]any{"Stable", kind.protocol, count}, "consumer group")
}

// Lag of kadm knows the groups of the old protocol only.
func lagsBehind(t *check.T, kind groupKind, wanted int64) {
	made := admin(t)
	defer made.Close()
	t.Until(fmt.Sprintf("lag of %d", wanted), func() bool {
		if kind.isNew {
			fetched, err := made.FetchOffsets(t.Context, t.Name)
			t.Must(err, "fetch offsets")
			ends, err := made.ListEndOffsets(t.Context, t.Name)
			t.Must(err, "list end offsets")
			return kadm.CalculateGroupLag(kadm.DescribedGroup{Group: t.Name, State: "Empty"},
				fetched, ends).Total() == wanted
		}
		lags, err := made.Lag(t.Context, t.Name)
		t.Must(err, "lag")
		one := lags[t.Name]
		t.Must(one.Error(), "lag of the group")
		return one.Lag.Total() == wanted
	})
}

func refusesDeletion(t *check.T) {
	made := admin(t)
	defer made.Close()
	_, err := made.DeleteGroup(t.Context, t.Name)
	t.Refused(err, "deletion of a group with members")
}

func deleteGroup(t *check.T) {
	made := admin(t)
	defer made.Close()
	_, err := made.DeleteGroup(t.Context, t.Name)
	t.Must(err, "delete group")
	left, err := made.ListGroups(t.Context)
	t.Must(err, "list groups")
	_, isListed := left[t.Name]
	t.That(!isListed, "the group is still listed")
}

func regex(t *check.T, kind groupKind) {
	create(t, t.Name+"-a", 2, nil)
	create(t, t.Name+"-other", 2, nil)
	write(t, numbered(t.Name+"-a", 2, 20))
	write(t, numbered(t.Name+"-other", 2, 20))
	all := newMembers(t, kind)
	pattern := []kgo.Opt{kgo.ConsumeRegex(), kgo.ConsumeTopics("^" + t.Name + "-[ab]$")}
	first := all.start(pattern...)
	defer first.leave()
	all.once(t.Name+"-a", 2, 10)
	second := all.start(pattern...)
	defer second.leave()
	all.share(2, first, second)
	create(t, t.Name+"-b", 2, nil)
	write(t, numbered(t.Name+"-b", 2, 20))
	all.once(t.Name+"-b", 2, 10)
	all.share(4, first, second)
	t.Equal(len(all.told), 4, "partitions read")
}

func regexWithoutGroup(t *check.T) {
	create(t, t.Name+"-a", 1, nil)
	write(t, numbered(t.Name+"-a", 1, 5))
	consumer := client(t, kgo.ConsumeRegex(), kgo.ConsumeTopics("^"+t.Name+"-[ab]$"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	defer consumer.Close()
	read(t, consumer, 5)
	create(t, t.Name+"-b", 1, nil)
	write(t, numbered(t.Name+"-b", 1, 7))
	read(t, consumer, 7)
}

// A static member that comes back within its session has what it had, without a rebalance.
func staticMember(t *check.T) {
	create(t, t.Name, 2, nil)
	write(t, numbered(t.Name, 2, 20))
	all := newMembers(t, groupKinds[2])
	topic := kgo.ConsumeTopics(t.Name)
	first := all.start(topic, kgo.InstanceID("one"))
	defer first.leave()
	second := all.start(topic, kgo.InstanceID("two"))
	all.share(2, first, second)
	all.once(t.Name, 2, 10)
	_, before := first.client.GroupMetadata()
	second.leave()
	made := admin(t)
	defer made.Close()
	groups, err := made.DescribeGroups(t.Context, t.Name)
	t.Must(err, "describe groups")
	t.Equal(len(groups[t.Name].Members), 2, "members while one is away")
	write(t, numbered(t.Name, 2, 20))
	third := all.start(topic, kgo.InstanceID("two"))
	defer third.leave()
	all.share(2, first, third)
	all.once(t.Name, 2, 20)
	_, after := first.client.GroupMetadata()
	t.Equal(after, before, "generation")
	left, err := made.LeaveGroup(t.Context,
		kadm.LeaveGroup(t.Name).InstanceIDs("two", "nobody").Reason("the test ends"))
	t.Must(err, "leave group")
	t.Must(left["two"].Err, "leave of a member")
	t.Refused(left["nobody"].Err, "leave of nobody")
}
