package main

import (
	"time"

	"github.com/hibiken/asynq"
)

// options are asyncq's names of asynq's options; durations in seconds, times in Unix seconds.
type options struct {
	Queue     *string  `json:"queue"`
	TaskID    *string  `json:"task_id"`
	MaxRetry  *int     `json:"max_retry"`
	Timeout   *float64 `json:"timeout"`
	Deadline  *int64   `json:"deadline"`
	Unique    *float64 `json:"unique"`
	ProcessAt *float64 `json:"process_at"`
	ProcessIn *float64 `json:"process_in"`
	Retention *float64 `json:"retention"`
	Group     *string  `json:"group"`
}

type newTask struct {
	Type    string            `json:"type"`
	Payload []byte            `json:"payload"`
	Headers map[string]string `json:"headers"`
	Options options           `json:"options"`
}

func (t newTask) task() *asynq.Task {
	if t.Headers == nil {
		return asynq.NewTask(t.Type, t.Payload)
	}
	return asynq.NewTaskWithHeaders(t.Type, t.Payload, t.Headers)
}

func (o options) list() (all []asynq.Option) {
	add(&all, o.Queue, asynq.Queue)
	add(&all, o.TaskID, asynq.TaskID)
	add(&all, o.MaxRetry, asynq.MaxRetry)
	add(&all, o.Group, asynq.Group)
	addLength(&all, o.Timeout, asynq.Timeout)
	addLength(&all, o.Unique, asynq.Unique)
	addLength(&all, o.ProcessIn, asynq.ProcessIn)
	addLength(&all, o.Retention, asynq.Retention)
	if o.Deadline != nil {
		all = append(all, asynq.Deadline(time.Unix(*o.Deadline, 0).UTC()))
	}
	if o.ProcessAt != nil {
		at := time.UnixMicro(int64(*o.ProcessAt * 1e6)).UTC()
		all = append(all, asynq.ProcessAt(at))
	}
	return all
}

func add[T any](all *[]asynq.Option, value *T, make func(T) asynq.Option) {
	if value != nil {
		*all = append(*all, make(*value))
	}
}

func addLength(all *[]asynq.Option, s *float64, make func(time.Duration) asynq.Option) {
	if s != nil {
		*all = append(*all, make(seconds(*s)))
	}
}

func seconds(s float64) time.Duration {
	return time.Duration(s * float64(time.Second))
}

func (p *peer) enqueue(t newTask) (any, error) {
	info, err := p.client.Enqueue(t.task(), t.Options.list()...)
	if err != nil {
		return nil, err
	}
	return seen(info), nil
}

func (p *peer) enqueueMany(many struct {
	Count int     `json:"count"`
	Task  newTask `json:"task"`
}) (any, error) {
	ids := make([]string, 0, many.Count)
	for range many.Count {
		info, err := p.client.Enqueue(many.Task.task(), many.Task.Options.list()...)
		if err != nil {
			return nil, err
		}
		ids = append(ids, info.ID)
	}
	return ids, nil
}

func optionStrings(asked struct {
	Options options `json:"options"`
}) (any, error) {
	texts := []string{}
	for _, option := range asked.Options.list() {
		texts = append(texts, option.String())
	}
	return texts, nil
}
