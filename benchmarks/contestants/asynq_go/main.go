// Go asynq as a contestant of the benchmark: the protocol is told in ../protocol.py.
//
//	asynq_go ACTION --redis redis://127.0.0.1:6379/0 [flags]
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/hibiken/asynq"
)

const (
	queue   = "default"
	warmUps = 200 // calls of enqueue-serial that are not counted
)

// answer is the one line of JSON that an action prints.
type answer map[string]any

// settings are the flags, which all actions share; each takes what it needs.
type settings struct {
	redis       string
	count       int
	concurrency int
	inFlight    int
	workload    string
	board       string
	delay       time.Duration
	spread      time.Duration
	interval    time.Duration
	checkEvery  time.Duration
}

var actions = map[string]func(settings) (answer, error){
	"info":               info,
	"enqueue-serial":     enqueueSerial,
	"enqueue-concurrent": enqueueConcurrent,
	"enqueue-bulk":       enqueueBulk,
	"fill":               fill,
	"work":               work,
	"produce-stamped":    produceStamped,
	"produce-delayed":    produceDelayed,
}

func main() {
	if len(os.Args) < 2 || actions[os.Args[1]] == nil {
		exit(fmt.Errorf("usage: asynq_go ACTION [flags]; %d actions, see main.go", len(actions)))
	}
	said, err := actions[os.Args[1]](parse(os.Args[2:]))
	if err != nil {
		exit(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(said); err != nil {
		exit(err)
	}
}

func exit(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func parse(args []string) settings {
	var s settings
	// The defaults of all contestants.
	var delayMS, spreadMS, intervalMS float64
	flags := flag.NewFlagSet("asynq_go", flag.ExitOnError)
	flags.StringVar(&s.redis, "redis", "redis://127.0.0.1:6379/0", "URL")
	flags.IntVar(&s.count, "count", 1000, "tasks")
	flags.IntVar(&s.concurrency, "concurrency", 100, "of a worker")
	flags.IntVar(&s.inFlight, "in-flight", 100, "goroutines that enqueue")
	flags.StringVar(&s.workload, "workload", "noop", "noop, sleep10 or stamp")
	flags.StringVar(&s.board, "board", os.Getenv("BENCH_BOARD"), "file that counts the runs")
	flags.Float64Var(&delayMS, "delay-ms", 2000, "produce-delayed: how far ahead")
	flags.Float64Var(&spreadMS, "spread-ms", 0, "produce-delayed: the due times are spread over this")
	flags.Float64Var(&intervalMS, "interval-ms", 20, "produce-stamped: from one to the next")
	flags.DurationVar(&s.checkEvery, "check-every", checkEvery, "asynq's TaskCheckInterval")
	flags.Int("processes", 1, "of no use here: asynq has no way of its own to run several")
	flags.Int("slot", 0, "of no use here: a process takes a free slot of the board")
	_ = flags.Parse(args) // exits by itself
	s.delay, s.spread, s.interval = milliseconds(delayMS), milliseconds(spreadMS), milliseconds(intervalMS)
	return s
}

func milliseconds(ms float64) time.Duration {
	return time.Duration(ms * float64(time.Millisecond))
}

func info(s settings) (answer, error) {
	versions := map[string]string{}
	if build, ok := debug.ReadBuildInfo(); ok {
		for _, module := range build.Deps {
			versions[module.Path] = module.Version
		}
	}
	return answer{
		"name":    "asynq (Go)",
		"version": versions["github.com/hibiken/asynq"],
		"kind":    "go",
		"runtime": fmt.Sprintf("%s GOMAXPROCS=%d", runtime.Version(), runtime.GOMAXPROCS(0)),
		"client":  "go-redis " + versions["github.com/redis/go-redis/v9"],
		"configuration": fmt.Sprintf(
			"one connection per goroutine, log level fatal, idle server looks every %v (default 1s: "+
				"--check-every), for due tasks every %v (default 5s), GOMAXPROCS as Go chooses",
			s.checkEvery, delayedCheckEvery),
	}, nil
}

// connect makes room for so many goroutines: with asynq's default of ten connections per core
// they would wait for each other.
func connect(s settings, goroutines int) (asynq.RedisClientOpt, error) {
	parsed, err := asynq.ParseRedisURI(s.redis)
	if err != nil {
		return asynq.RedisClientOpt{}, err
	}
	options, ok := parsed.(asynq.RedisClientOpt)
	if !ok {
		return asynq.RedisClientOpt{}, fmt.Errorf("not the URL of one Redis: %s", s.redis)
	}
	options.PoolSize = max(goroutines, 10*runtime.GOMAXPROCS(0))
	return options, nil
}

// cpuSeconds is what this process has used, in user and kernel mode.
func cpuSeconds() float64 {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		exit(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano()).Seconds()
}
