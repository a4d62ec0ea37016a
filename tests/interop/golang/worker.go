package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sort"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"github.com/hibiken/asynq/x/rate"
)

type workerConfig struct {
	Name        string         `json:"name"`
	Queues      map[string]int `json:"queues"`
	Concurrency int            `json:"concurrency"`
	Strict      bool           `json:"strict_priority"`
	RetryDelay  float64        `json:"retry_delay"`
	Group       *groupConfig   `json:"group"`
}

type groupConfig struct {
	GracePeriod float64 `json:"grace_period"`
	MaxSize     int     `json:"max_size"`
	Hang        bool    `json:"hang"` // the aggregator tells what it was given, and never returns
}

func (p *peer) startWorker(asked workerConfig) (any, error) {
	config := asynq.Config{
		Concurrency:              asked.Concurrency,
		Queues:                   asked.Queues,
		StrictPriority:           asked.Strict,
		TaskCheckInterval:        20 * time.Millisecond,
		DelayedTaskCheckInterval: 100 * time.Millisecond,
		ShutdownTimeout:          time.Second,
		JanitorInterval:          time.Second,
		LogLevel:                 asynq.WarnLevel,
		RetryDelayFunc: func(int, error, *asynq.Task) time.Duration {
			return seconds(asked.RetryDelay)
		},
	}
	if asked.Group != nil {
		config.GroupGracePeriod = seconds(asked.Group.GracePeriod)
		config.GroupMaxSize = asked.Group.MaxSize
		config.GroupAggregator = asynq.GroupAggregatorFunc(aggregate)
		if asked.Group.Hang {
			config.GroupAggregator = asynq.GroupAggregatorFunc(p.hangInAggregator)
		}
	}
	server := asynq.NewServer(p.redis, config)
	p.workers[asked.Name] = server
	return nil, server.Start(p.mux())
}

func (p *peer) stopWorker(asked named) (any, error) {
	p.workers[asked.Name].Shutdown()
	return nil, nil
}

// aggregate makes one task of the payloads, in alphabetical order.
func aggregate(group string, tasks []*asynq.Task) *asynq.Task {
	payloads := [][]byte{}
	for _, task := range tasks {
		payloads = append(payloads, task.Payload())
	}
	sort.Slice(payloads, func(i, j int) bool { return bytes.Compare(payloads[i], payloads[j]) < 0 })
	whole := append([]byte(group+"="), bytes.Join(payloads, []byte(","))...)
	return asynq.NewTask("aggregated", whole)
}

func (p *peer) hangInAggregator(group string, tasks []*asynq.Task) *asynq.Task {
	p.tell(map[string]any{"event": "aggregating", "group": group, "count": len(tasks)})
	select {}
}

// mux has one type of task for each way in which an attempt can end.
func (p *peer) mux() *asynq.ServeMux {
	mux := asynq.NewServeMux()
	mux.Use(p.reporting)
	mux.HandleFunc("echo", echo)
	mux.HandleFunc("aggregated", echo)
	mux.HandleFunc("fail", func(context.Context, *asynq.Task) error { return errors.New("boom") })
	mux.HandleFunc("fail-first", func(ctx context.Context, t *asynq.Task) error {
		if first(ctx) {
			return errors.New("boom")
		}
		return echo(ctx, t)
	})
	mux.HandleFunc("skip", func(context.Context, *asynq.Task) error {
		return fmt.Errorf("no use: %w", asynq.SkipRetry)
	})
	mux.HandleFunc("revoke", func(context.Context, *asynq.Task) error { return asynq.RevokeTask })
	mux.HandleFunc("hang", hang)
	mux.HandleFunc("hang-first", func(ctx context.Context, t *asynq.Task) error {
		if first(ctx) {
			return hang(ctx, t)
		}
		return echo(ctx, t)
	})
	mux.HandleFunc("count", p.count)
	mux.HandleFunc("semaphore", p.holdToken)
	return mux
}

// reporting tells of each attempt that begins, and of each that succeeds. What is only counted
// is not reported.
func (p *peer) reporting(next asynq.Handler) asynq.Handler {
	return asynq.HandlerFunc(func(ctx context.Context, t *asynq.Task) error {
		if t.Type() == "count" {
			return next.ProcessTask(ctx, t)
		}
		p.tell(attempt("start", ctx, t))
		err := next.ProcessTask(ctx, t)
		if err == nil {
			p.tell(attempt("done", ctx, t))
		}
		return err
	})
}

func attempt(event string, ctx context.Context, t *asynq.Task) map[string]any {
	id, _ := asynq.GetTaskID(ctx)
	queue, _ := asynq.GetQueueName(ctx)
	retried, _ := asynq.GetRetryCount(ctx)
	most, _ := asynq.GetMaxRetry(ctx)
	headers := t.Headers()
	if headers == nil {
		headers = map[string]string{}
	}
	return map[string]any{
		"event": event, "id": id, "queue": queue, "type": t.Type(), "payload": text(t.Payload()),
		"headers": headers, "retried": retried, "max_retry": most,
	}
}

func first(ctx context.Context) bool {
	retried, _ := asynq.GetRetryCount(ctx)
	return retried == 0
}

func echo(_ context.Context, t *asynq.Task) error {
	_, err := t.ResultWriter().Write(append([]byte("done:"), t.Payload()...))
	return err
}

func hang(ctx context.Context, _ *asynq.Task) error {
	<-ctx.Done()
	return ctx.Err()
}

func (p *peer) count(ctx context.Context, _ *asynq.Task) error {
	id, _ := asynq.GetTaskID(ctx)
	times, _ := p.counts.LoadOrStore(id, new(atomic.Int64))
	times.(*atomic.Int64).Add(1)
	return nil
}

func (p *peer) counted() map[string]int64 {
	all := map[string]int64{}
	p.counts.Range(func(id, times any) bool {
		all[id.(string)] = times.(*atomic.Int64).Load()
		return true
	})
	return all
}

// holdToken takes a token of the semaphore that the payload names, tells whether it got one,
// and keeps it until the gate opens.
func (p *peer) holdToken(ctx context.Context, t *asynq.Task) error {
	var which struct {
		Scope  string `json:"scope"`
		Tokens int    `json:"tokens"`
	}
	if err := json.Unmarshal(t.Payload(), &which); err != nil {
		return err
	}
	semaphore := rate.NewSemaphore(p.redis, which.Scope, which.Tokens)
	defer semaphore.Close()
	got, err := semaphore.Acquire(ctx)
	if err != nil {
		return err
	}
	p.tell(attempt(map[bool]string{true: "token", false: "no-token"}[got], ctx, t))
	if !got {
		return nil
	}
	<-p.gate
	return semaphore.Release(ctx)
}
