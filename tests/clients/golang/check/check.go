// Package check runs cases against a broker, several at a time, and prints how each ended: a line
// "passed NAME" or "failed NAME: why". A case that does not end in time has failed; it is left
// behind, and the others go on. What a case asks of its client is the business of its program.
package check

import (
	"context"
	"fmt"
	"os"
	"reflect"
	"runtime/debug"
	"strings"
	"time"
)

const (
	// Sessions of groups and the like last seconds; the rest is for a slow machine.
	caseSeconds = 100
	// Most of a case is waiting, for one heartbeat or another.
	casesAtOnce = 12
	// A thousand failed records say no more than the first of them.
	reasonCharsMax = 1000
)

// Codecs are the names that all clients have for the compression types.
var Codecs = []string{"none", "gzip", "snappy", "lz4", "zstd"}

// Case is a promise that the broker must keep.
type Case struct {
	Name string
	Run  func(t *T)
}

// T is what a case is given: where the broker is, a name for topics and groups that no other case
// uses, and a context that ends when the case's time is over.
type T struct {
	Context   context.Context
	Bootstrap string
	Name      string
}

type failure string

// Fail ends the case.
func (t *T) Fail(format string, arguments ...any) {
	panic(failure(fmt.Sprintf(format, arguments...)))
}

// Must ends the case when there is an error.
func (t *T) Must(err error, doing string) {
	if err != nil {
		t.Fail("%s: %v", doing, err)
	}
}

// Refused ends the case unless there is an error, one that came before the time was over.
func (t *T) Refused(err error, doing string) {
	if err == nil {
		t.Fail("%s: was not refused", doing)
	}
	t.Must(t.Context.Err(), doing)
}

// That ends the case when a condition does not hold.
func (t *T) That(holds bool, format string, arguments ...any) {
	if !holds {
		t.Fail(format, arguments...)
	}
}

// Equal ends the case when two values differ.
func (t *T) Equal(got, wanted any, what string) {
	if !reflect.DeepEqual(got, wanted) {
		t.Fail("%s: %+v instead of %+v", what, got, wanted)
	}
}

// Until asks again and again until the answer is yes. For what Kafka tells later than it is done:
// between the questions is the time of a network round trip, and a pause so that it is no flood.
func (t *T) Until(what string, ask func() bool) {
	pause := time.NewTicker(50 * time.Millisecond)
	defer pause.Stop()
	for !ask() {
		select {
		case <-pause.C:
		case <-t.Context.Done():
			t.Fail("%s: not in time", what)
		}
	}
}

// ForCodecs is a case for each codec.
func ForCodecs(name string, run func(t *T, codec string)) []Case {
	var cases []Case
	for _, codec := range Codecs {
		cases = append(cases, Case{
			Name: name + "-" + codec,
			Run:  func(t *T) { run(t, codec) },
		})
	}
	return cases
}

// RoundTrips is a case for each codec with each kind of acknowledgement.
func RoundTrips(run func(t *T, codec, acks string)) []Case {
	var cases []Case
	for _, acks := range []string{"0", "1", "all"} {
		for _, each := range ForCodecs("round-trip", func(t *T, codec string) { run(t, codec, acks) }) {
			each.Name += "-acks-" + acks
			cases = append(cases, each)
		}
	}
	return cases
}

// Main runs the cases against the broker that the command line names, with a prefix for the names
// that they use there.
func Main(prefix string, cases []Case) {
	if len(os.Args) < 2 {
		fmt.Fprintf(os.Stderr, "usage: %s HOST:PORT [PART_OF_NAME]\n", os.Args[0])
		os.Exit(2)
	}
	told := make(chan string, len(cases))
	places := make(chan struct{}, casesAtOnce)
	started := 0
	for _, each := range cases {
		if len(os.Args) > 2 && !strings.Contains(each.Name, os.Args[2]) {
			continue
		}
		started++
		places <- struct{}{}
		go func() {
			told <- outcome(each, os.Args[1], prefix)
			<-places
		}()
	}
	for range started {
		fmt.Println(<-told)
	}
}

func outcome(one Case, bootstrap, prefix string) string {
	context, cancel := context.WithTimeout(context.Background(), caseSeconds*time.Second)
	defer cancel()
	t := &T{Context: context, Bootstrap: bootstrap, Name: prefix + "-" + one.Name}
	why := make(chan string, 1)
	begun := time.Now()
	go func() { why <- run(one, t) }()
	select {
	case said := <-why:
		if said == "" {
			return fmt.Sprintf("passed %s (%d ms)", one.Name, time.Since(begun).Milliseconds())
		}
		return fmt.Sprintf("failed %s: %.*s", one.Name, reasonCharsMax,
			strings.ReplaceAll(said, "\n", " | "))
	case <-time.After((caseSeconds + 10) * time.Second):
		return fmt.Sprintf("failed %s: did not end in time", one.Name)
	}
}

func run(one Case, t *T) (why string) {
	defer func() {
		switch caught := recover().(type) {
		case nil:
		case failure:
			why = string(caught)
		default:
			why = fmt.Sprintf("%v | %s", caught, debug.Stack())
		}
	}()
	one.Run(t)
	return ""
}
