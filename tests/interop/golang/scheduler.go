package main

import (
	"fmt"
	"time"

	"github.com/hibiken/asynq"
	"github.com/robfig/cron/v3"
)

type newEntry struct {
	Spec string  `json:"spec"`
	Task newTask `json:"task"`
}

type schedulerConfig struct {
	Name     string     `json:"name"`
	Location string     `json:"location"`
	Entries  []newEntry `json:"entries"`
}

type named struct {
	Name string `json:"name"`
}

// startScheduler returns the ids of the entries.
func (p *peer) startScheduler(asked schedulerConfig) (any, error) {
	location, err := time.LoadLocation(asked.Location)
	if err != nil {
		return nil, err
	}
	s := asynq.NewScheduler(p.redis, schedulerOptions(location))
	ids := []string{}
	for _, entry := range asked.Entries {
		id, err := s.Register(entry.Spec, entry.Task.task(), entry.Task.Options.list()...)
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	p.schedulers[asked.Name] = s
	return ids, s.Start()
}

func (p *peer) stopScheduler(asked named) (any, error) {
	p.schedulers[asked.Name].Shutdown()
	return nil, nil
}

func schedulerOptions(location *time.Location) *asynq.SchedulerOpts {
	return &asynq.SchedulerOpts{
		Location: location, LogLevel: asynq.WarnLevel, HeartbeatInterval: time.Second,
	}
}

type entries []newEntry

func (e entries) GetConfigs() (configs []*asynq.PeriodicTaskConfig, err error) {
	for _, entry := range e {
		configs = append(configs, &asynq.PeriodicTaskConfig{
			Cronspec: entry.Spec, Task: entry.Task.task(), Opts: entry.Task.Options.list(),
		})
	}
	return configs, nil
}

func (p *peer) startManager(asked schedulerConfig) (any, error) {
	manager, err := asynq.NewPeriodicTaskManager(asynq.PeriodicTaskManagerOpts{
		PeriodicTaskConfigProvider: entries(asked.Entries),
		RedisConnOpt:               p.redis,
		SchedulerOpts:              schedulerOptions(time.UTC),
	})
	if err != nil {
		return nil, err
	}
	p.schedulers[asked.Name] = manager
	return nil, manager.Start()
}

// cronTimes gives the next times of each spec in Unix seconds, fewer where it stops firing, and
// null for a spec that does not parse.
func cronTimes(asked struct {
	Specs    []string `json:"specs"`
	After    []int64  `json:"after"`
	Location string   `json:"location"`
	Count    int      `json:"count"`
}) (any, error) {
	location, err := time.LoadLocation(asked.Location)
	if err != nil {
		return nil, err
	}
	times := make([][]int64, len(asked.Specs))
	for i, spec := range asked.Specs {
		schedule, err := parse(spec)
		if err != nil {
			continue
		}
		times[i] = []int64{}
		at := time.Unix(asked.After[i], 0).In(location)
		for range asked.Count {
			if at = schedule.Next(at); at.IsZero() {
				break
			}
			times[i] = append(times[i], at.Unix())
		}
	}
	return times, nil
}

// parse also survives the specs that make the parser panic.
func parse(spec string) (schedule cron.Schedule, err error) {
	defer func() {
		if caught := recover(); caught != nil {
			err = fmt.Errorf("panic: %v", caught)
		}
	}()
	return cron.ParseStandard(spec)
}
