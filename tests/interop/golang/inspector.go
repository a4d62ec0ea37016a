package main

import (
	"fmt"
	"sort"
	"time"

	"github.com/hibiken/asynq"
)

type query struct {
	Call     string `json:"call"`
	Queue    string `json:"queue"`
	ID       string `json:"task_id"`
	EntryID  string `json:"entry_id"`
	State    string `json:"state"`
	Group    string `json:"group"`
	Page     int    `json:"page"`
	PageSize int    `json:"page_size"`
	Days     int    `json:"days"`
	Force    bool   `json:"force"`
	Payload  []byte `json:"payload"`
}

func (p *peer) inspect(q query) (any, error) {
	i := p.inspector
	switch q.Call {
	case "queues":
		return i.Queues()
	case "queue_info":
		info, err := i.GetQueueInfo(q.Queue)
		return check(info, err, seenQueue)
	case "history":
		days, err := i.History(q.Queue, q.Days)
		return all(days, err, seenDay)
	case "groups":
		groups, err := i.Groups(q.Queue)
		return all(groups, err, func(g *asynq.GroupInfo) map[string]any {
			return map[string]any{"queue": q.Queue, "group": g.Group, "size": g.Size}
		})
	case "task_info":
		info, err := i.GetTaskInfo(q.Queue, q.ID)
		return check(info, err, seen)
	case "list_tasks":
		infos, err := p.list(q)
		return all(infos, err, seen)
	case "run_task":
		return nil, i.RunTask(q.Queue, q.ID)
	case "archive_task":
		return nil, i.ArchiveTask(q.Queue, q.ID)
	case "delete_task":
		return nil, i.DeleteTask(q.Queue, q.ID)
	case "update_payload":
		return nil, i.UpdateTaskPayload(q.Queue, q.ID, q.Payload)
	case "run_all", "archive_all", "delete_all":
		return p.actOnAll(q)
	case "cancel":
		return nil, i.CancelProcessing(q.ID)
	case "pause_queue":
		return nil, i.PauseQueue(q.Queue)
	case "unpause_queue":
		return nil, i.UnpauseQueue(q.Queue)
	case "delete_queue":
		return nil, i.DeleteQueue(q.Queue, q.Force)
	case "servers":
		servers, err := i.Servers()
		return all(servers, err, seenServer)
	case "scheduler_entries":
		entries, err := i.SchedulerEntries()
		return all(entries, err, seenEntry)
	case "enqueue_events":
		events, err := i.ListSchedulerEnqueueEvents(q.EntryID)
		return all(events, err, func(e *asynq.SchedulerEnqueueEvent) map[string]any {
			return map[string]any{"task_id": e.TaskID, "enqueued_at": unix(e.EnqueuedAt)}
		})
	}
	return nil, fmt.Errorf("nobody knows how to inspect %q", q.Call)
}

func (p *peer) list(q query) ([]*asynq.TaskInfo, error) {
	i := p.inspector
	options := []asynq.ListOption{asynq.Page(max(q.Page, 1))}
	if q.PageSize > 0 {
		options = append(options, asynq.PageSize(q.PageSize))
	}
	if q.State == "aggregating" {
		return i.ListAggregatingTasks(q.Queue, q.Group, options...)
	}
	list, known := map[string]func(string, ...asynq.ListOption) ([]*asynq.TaskInfo, error){
		"pending": i.ListPendingTasks, "active": i.ListActiveTasks,
		"scheduled": i.ListScheduledTasks, "retry": i.ListRetryTasks,
		"archived": i.ListArchivedTasks, "completed": i.ListCompletedTasks,
	}[q.State]
	if !known {
		return nil, fmt.Errorf("nobody lists %q", q.State)
	}
	return list(q.Queue, options...)
}

func (p *peer) actOnAll(q query) (any, error) {
	i := p.inspector
	act, known := map[string]func(string) (int, error){
		"run_all scheduled": i.RunAllScheduledTasks, "run_all retry": i.RunAllRetryTasks,
		"run_all archived":        i.RunAllArchivedTasks,
		"archive_all pending":     i.ArchiveAllPendingTasks,
		"archive_all scheduled":   i.ArchiveAllScheduledTasks,
		"archive_all retry":       i.ArchiveAllRetryTasks,
		"delete_all pending":      i.DeleteAllPendingTasks,
		"delete_all scheduled":    i.DeleteAllScheduledTasks,
		"delete_all retry":        i.DeleteAllRetryTasks,
		"delete_all archived":     i.DeleteAllArchivedTasks,
		"delete_all completed":    i.DeleteAllCompletedTasks,
		"run_all aggregating":     grouped(i.RunAllAggregatingTasks, q.Group),
		"archive_all aggregating": grouped(i.ArchiveAllAggregatingTasks, q.Group),
		"delete_all aggregating":  grouped(i.DeleteAllAggregatingTasks, q.Group),
	}[q.Call+" "+q.State]
	if !known {
		return nil, fmt.Errorf("asynq cannot %s of %s", q.Call, q.State)
	}
	return act(q.Queue)
}

func grouped(act func(string, string) (int, error), group string) func(string) (int, error) {
	return func(queue string) (int, error) { return act(queue, group) }
}

func check[T any](found T, err error, show func(T) map[string]any) (any, error) {
	if err != nil {
		return nil, err
	}
	return show(found), nil
}

func all[T any](found []T, err error, show func(T) map[string]any) (any, error) {
	if err != nil {
		return nil, err
	}
	shown := []map[string]any{}
	for _, one := range found {
		shown = append(shown, show(one))
	}
	return shown, nil
}

func seen(t *asynq.TaskInfo) map[string]any {
	headers := t.Headers
	if headers == nil {
		headers = map[string]string{}
	}
	return map[string]any{
		"id": t.ID, "queue": t.Queue, "type": t.Type, "payload": text(t.Payload),
		"headers": headers, "state": t.State.String(), "max_retry": t.MaxRetry,
		"retried": t.Retried, "last_error": t.LastErr, "last_failed_at": unix(t.LastFailedAt),
		"timeout": t.Timeout.Seconds(), "deadline": unix(t.Deadline), "group": t.Group,
		"next_process_at": unix(t.NextProcessAt), "is_orphaned": t.IsOrphaned,
		"retention": t.Retention.Seconds(), "completed_at": unix(t.CompletedAt),
		"result": text(t.Result),
	}
}

func seenQueue(q *asynq.QueueInfo) map[string]any {
	return map[string]any{
		"queue": q.Queue, "size": q.Size, "groups": q.Groups, "pending": q.Pending,
		"active": q.Active, "scheduled": q.Scheduled, "retry": q.Retry, "archived": q.Archived,
		"completed": q.Completed, "aggregating": q.Aggregating, "processed": q.Processed,
		"failed": q.Failed, "processed_total": q.ProcessedTotal, "failed_total": q.FailedTotal,
		"paused": q.Paused, "has_latency": q.Latency > 0, "memory_usage": q.MemoryUsage,
	}
}

func seenDay(d *asynq.DailyStats) map[string]any {
	return map[string]any{
		"queue": d.Queue, "processed": d.Processed, "failed": d.Failed,
		"date": d.Date.Format("2006-01-02"),
	}
}

func seenServer(s *asynq.ServerInfo) map[string]any {
	workers := []map[string]any{}
	for _, w := range s.ActiveWorkers {
		workers = append(workers, map[string]any{
			"task_id": w.TaskID, "task_type": w.TaskType, "task_payload": text(w.TaskPayload),
			"queue": w.Queue, "started": unix(w.Started), "deadline": unix(w.Deadline),
		})
	}
	sort.Slice(workers, func(i, j int) bool {
		return workers[i]["task_id"].(string) < workers[j]["task_id"].(string)
	})
	return map[string]any{
		"id": s.ID, "host": s.Host, "pid": s.PID, "concurrency": s.Concurrency,
		"queues": s.Queues, "strict_priority": s.StrictPriority, "status": s.Status,
		"started": unix(s.Started), "active_workers": workers,
	}
}

func seenEntry(e *asynq.SchedulerEntry) map[string]any {
	texts := []string{}
	for _, option := range e.Opts {
		texts = append(texts, option.String())
	}
	return map[string]any{
		"id": e.ID, "spec": e.Spec, "type": e.Task.Type(), "payload": text(e.Task.Payload()),
		"options": texts, "next": unix(e.Next), "prev": unix(e.Prev),
	}
}

// text keeps payloads readable in a failing test; Go would write bytes as base64.
func text(data []byte) string { return string(data) }

// unix is null for asynq's "never".
func unix(t time.Time) any {
	if t.IsZero() || t.Unix() == 0 {
		return nil
	}
	return t.Unix()
}
