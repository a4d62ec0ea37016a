package main

import (
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
)

// payload is what every contestant enqueues.
var payload = []byte(`{"n":1}`)

// stamp is the payload of tasks that carry a time, in nanoseconds of the Unix clock.
type stamp struct {
	AtNS int64 `json:"ns"`
}

func stampedTask(at time.Time) (*asynq.Task, error) {
	encoded, err := json.Marshal(stamp{at.UnixNano()})
	if err != nil {
		return nil, err
	}
	return asynq.NewTask("stamp", encoded), nil
}

func enqueueSerial(s settings) (answer, error) {
	return measuredEnqueue(s, 1)
}

func enqueueConcurrent(s settings) (answer, error) {
	return measuredEnqueue(s, s.inFlight)
}

func enqueueBulk(settings) (answer, error) {
	return answer{"unsupported": "asynq's client has no call for several tasks"}, nil
}

func fill(s settings) (answer, error) {
	_, err := withClient(s, s.inFlight, func(client *asynq.Client) (answer, error) {
		return nil, enqueue(client, s.workload, s.count, s.inFlight)
	})
	return answer{"count": s.count}, err
}

func produceStamped(s settings) (answer, error) {
	return withClient(s, 1, func(client *asynq.Client) (answer, error) {
		ticks := time.NewTicker(max(s.interval, 1))
		defer ticks.Stop()
		for range s.count {
			<-ticks.C
			task, err := stampedTask(time.Now())
			if err != nil {
				return nil, err
			}
			if _, err := client.Enqueue(task); err != nil {
				return nil, err
			}
		}
		return answer{"count": s.count}, nil
	})
}

func produceDelayed(s settings) (answer, error) {
	return withClient(s, 1, func(client *asynq.Client) (answer, error) {
		step := s.spread / time.Duration(max(1, s.count-1))
		for n := range s.count {
			due := time.Now().Add(s.delay + step*time.Duration(n))
			task, err := stampedTask(due)
			if err != nil {
				return nil, err
			}
			if _, err := client.Enqueue(task, asynq.ProcessAt(due)); err != nil {
				return nil, err
			}
		}
		return answer{"count": s.count}, nil
	})
}

func withClient(
	s settings, goroutines int, use func(*asynq.Client) (answer, error),
) (answer, error) {
	options, err := connect(s, goroutines)
	if err != nil {
		return nil, err
	}
	client := asynq.NewClient(options)
	said, err := use(client)
	if closed := client.Close(); err == nil {
		err = closed
	}
	return said, err
}

func measuredEnqueue(s settings, goroutines int) (answer, error) {
	return withClient(s, goroutines, func(client *asynq.Client) (answer, error) {
		if err := enqueue(client, s.workload, max(warmUps, 2*goroutines), goroutines); err != nil {
			return nil, err
		}
		cpu, start := cpuSeconds(), time.Now()
		if err := enqueue(client, s.workload, s.count, goroutines); err != nil {
			return nil, err
		}
		seconds := time.Since(start).Seconds()
		return answer{
			"count": s.count, "seconds": seconds, "cpu_seconds": cpuSeconds() - cpu,
		}, nil
	})
}

// enqueue puts count tasks into the queue, each goroutine one after another.
func enqueue(client *asynq.Client, workload string, count, goroutines int) error {
	var (
		taken  atomic.Int64
		failed atomic.Pointer[error]
		all    sync.WaitGroup
	)
	for range goroutines {
		all.Go(func() {
			for taken.Add(1) <= int64(count) && failed.Load() == nil {
				if _, err := client.Enqueue(asynq.NewTask(workload, payload)); err != nil {
					err = fmt.Errorf("enqueue: %w", err)
					failed.Store(&err)
				}
			}
		})
	}
	all.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}
