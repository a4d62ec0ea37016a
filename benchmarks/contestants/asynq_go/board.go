package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"
)

// The layout of the board is told in ../board.py: this is its twin.
const (
	boardMagic = "ASYNCQB1"
	block      = 64 // bytes of the header, and of each slot

	// What a slot holds, as offsets in bytes.
	slotRuns      = 0
	slotFirst     = 8
	slotLast      = 16
	slotLatencies = 24
	slotPID       = 32
)

// Board counts the runs of handlers in a file that the benchmark reads. Safe for goroutines.
// A nil board counts nothing.
type Board struct {
	mu        sync.Mutex
	file      *os.File // kept open: closing it would let go of the slot's lock
	slot      []byte
	latencies []byte
	runs      uint64
	noted     uint64
}

// OpenBoard takes a free slot of the board at path; with no path there is no board.
func OpenBoard(path string) (*Board, error) {
	if path == "" {
		return nil, nil
	}
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	size, err := file.Seek(0, 2)
	if err != nil {
		return nil, err
	}
	memory, err := syscall.Mmap(int(file.Fd()), 0, int(size),
		syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	if len(memory) < block || string(memory[:8]) != boardMagic {
		return nil, fmt.Errorf("%s is not a board", path)
	}
	slots := int(binary.LittleEndian.Uint64(memory[8:]))
	capacity := int(binary.LittleEndian.Uint64(memory[16:]))
	number, err := lockSlot(file, slots)
	if err != nil {
		return nil, err
	}
	at := block * (1 + number)
	latencies := block*(1+slots) + 8*capacity*number
	b := &Board{
		file:      file,
		slot:      memory[at : at+block],
		latencies: memory[latencies : latencies+8*capacity],
	}
	// A process that has ended may have counted here: count on.
	b.runs = binary.LittleEndian.Uint64(b.slot[slotRuns:])
	b.noted = binary.LittleEndian.Uint64(b.slot[slotLatencies:])
	b.put(slotPID, uint64(os.Getpid()))
	return b, nil
}

func lockSlot(file *os.File, slots int) (int, error) {
	for number := range slots {
		lock := syscall.Flock_t{
			Type: syscall.F_WRLCK, Whence: 0, Start: int64(block * (1 + number)), Len: block,
		}
		if syscall.FcntlFlock(file.Fd(), syscall.F_SETLK, &lock) == nil {
			return number, nil
		}
	}
	return 0, fmt.Errorf("more than %d processes run handlers", slots)
}

// Tick counts one run of a handler.
func (b *Board) Tick() {
	if b == nil {
		return
	}
	b.mu.Lock()
	b.tick()
	b.mu.Unlock()
}

// Latency counts one run, and notes how long after the time it carried it began.
func (b *Board) Latency(elapsed time.Duration) error {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tick()
	if 8*int(b.noted) == len(b.latencies) {
		return fmt.Errorf("the board takes %d latencies per process", b.noted)
	}
	binary.LittleEndian.PutUint64(b.latencies[8*b.noted:], uint64(elapsed))
	b.noted++
	b.put(slotLatencies, b.noted) // last, since a reader goes by it
	return nil
}

func (b *Board) tick() {
	now := uint64(time.Now().UnixNano())
	b.runs++
	b.put(slotRuns, b.runs)
	b.put(slotLast, now)
	if b.runs == 1 {
		b.put(slotFirst, now)
	}
}

func (b *Board) put(at int, value uint64) {
	binary.LittleEndian.PutUint64(b.slot[at:], value)
}
