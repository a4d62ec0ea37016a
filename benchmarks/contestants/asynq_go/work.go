package main

import (
	"context"
	"encoding/json"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/hibiken/asynq"
)

const (
	// checkEvery is how long an idle server waits before it looks at its queue again, on average.
	// asynq has no other way to hear of a task: this is the best for pick-up, and dear when idle.
	checkEvery = time.Millisecond

	// delayedCheckEvery is the same for due tasks. Their times are whole seconds, rounded down.
	delayedCheckEvery = 100 * time.Millisecond
)

func work(s settings) (answer, error) {
	board, err := OpenBoard(s.board)
	if err != nil {
		return nil, err
	}
	options, err := connect(s, s.concurrency)
	if err != nil {
		return nil, err
	}
	server := asynq.NewServer(options, asynq.Config{
		Concurrency:              s.concurrency,
		Queues:                   map[string]int{queue: 1},
		LogLevel:                 asynq.FatalLevel,
		TaskCheckInterval:        s.checkEvery,
		DelayedTaskCheckInterval: delayedCheckEvery,
	})
	stopped := make(chan os.Signal, 1)
	signal.Notify(stopped, syscall.SIGTERM, syscall.SIGINT)
	if err := server.Start(handlers(board)); err != nil {
		return nil, err
	}
	<-stopped
	server.Shutdown()
	return answer{}, nil
}

func handlers(board *Board) *asynq.ServeMux {
	mux := asynq.NewServeMux()
	mux.HandleFunc("noop", func(context.Context, *asynq.Task) error {
		board.Tick()
		return nil
	})
	mux.HandleFunc("sleep10", func(context.Context, *asynq.Task) error {
		board.Tick()
		time.Sleep(10 * time.Millisecond)
		return nil
	})
	mux.HandleFunc("stamp", func(_ context.Context, task *asynq.Task) error {
		now := time.Now().UnixNano()
		var carried stamp
		if err := json.Unmarshal(task.Payload(), &carried); err != nil {
			return err
		}
		return board.Latency(time.Duration(now - carried.AtNS))
	})
	return mux
}
