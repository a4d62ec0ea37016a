// Interop is the Go side of asyncq's interoperation tests: the real asynq, told what to do and
// telling what happened in lines of JSON, as the Python side (peer.py) is and does.
//
//	interop HOST:PORT < requests > replies and events
//
// A request is {"n": 1, "do": "enqueue", ...}; its reply {"n": 1, "value": ...} or
// {"n": 1, "error": "..."}; an event {"event": "start", ...}. It ends when its input does.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/hibiken/asynq"
)

type peer struct {
	redis      asynq.RedisClientOpt
	client     *asynq.Client
	inspector  *asynq.Inspector
	workers    map[string]*asynq.Server
	schedulers map[string]interface{ Shutdown() }

	counts  sync.Map // task id -> *atomic.Int64
	gate    chan struct{}
	writing sync.Mutex
}

type request struct {
	N  int    `json:"n"`
	Do string `json:"do"`
}

func main() {
	redis := asynq.RedisClientOpt{Addr: os.Args[1]}
	p := &peer{
		redis:      redis,
		client:     asynq.NewClient(redis),
		inspector:  asynq.NewInspector(redis),
		workers:    map[string]*asynq.Server{},
		schedulers: map[string]interface{ Shutdown() }{},
		gate:       make(chan struct{}),
	}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<26)
	for lines.Scan() {
		p.answer(lines.Bytes())
	}
}

func (p *peer) answer(line []byte) {
	var asked request
	if err := json.Unmarshal(line, &asked); err != nil {
		panic(err)
	}
	value, err := p.do(asked.Do, line)
	if err != nil {
		p.tell(map[string]any{"n": asked.N, "error": words(err)})
		return
	}
	p.tell(map[string]any{"n": asked.N, "value": value})
}

func (p *peer) do(what string, line []byte) (any, error) {
	switch what {
	case "enqueue":
		return with(line, p.enqueue)
	case "enqueue_many":
		return with(line, p.enqueueMany)
	case "inspect":
		return with(line, p.inspect)
	case "start_worker":
		return with(line, p.startWorker)
	case "stop_worker":
		return with(line, p.stopWorker)
	case "open_gate":
		close(p.gate)
		return nil, nil
	case "counts":
		return p.counted(), nil
	case "start_scheduler":
		return with(line, p.startScheduler)
	case "stop_scheduler":
		return with(line, p.stopScheduler)
	case "start_manager":
		return with(line, p.startManager)
	case "cron":
		return with(line, cronTimes)
	case "option_strings":
		return with(line, optionStrings)
	}
	return nil, fmt.Errorf("nobody knows how to %q", what)
}

// words are what both sides call the errors that callers tell apart.
func words(err error) string {
	for known, word := range map[error]string{
		asynq.ErrDuplicateTask:  "duplicate task",
		asynq.ErrTaskIDConflict: "task id conflict",
		asynq.ErrTaskNotFound:   "task not found",
		asynq.ErrQueueNotFound:  "queue not found",
		asynq.ErrQueueNotEmpty:  "queue not empty",
	} {
		if errors.Is(err, known) {
			return word
		}
	}
	return err.Error()
}

// with reads the arguments of a call from the line that asked for it.
func with[A any](line []byte, call func(A) (any, error)) (any, error) {
	var arguments A
	if err := json.Unmarshal(line, &arguments); err != nil {
		return nil, err
	}
	return call(arguments)
}

func (p *peer) tell(what any) {
	line, err := json.Marshal(what)
	if err != nil {
		panic(err)
	}
	p.writing.Lock()
	defer p.writing.Unlock()
	if _, err := os.Stdout.Write(append(line, '\n')); err != nil {
		os.Exit(1) // nobody listens any more
	}
}
