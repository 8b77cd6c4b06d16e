// Command stores measures what may keep a durable history, side by side in one run: messages of 128 bytes from 64 publishers that each wait until theirs is on disk, then a start with a given amount of
// messages that were written before, all of which are read. docs/durable.md has the table.
//
//	go run . -size 1000000000
//	go run . -size 1000000000 -only hawser
package main

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

const (
	publishers  = 64
	messageSize = 128
)

// keeper is a store under test.
type keeper interface {
	// publish returns when the message is on disk; many call it at once.
	publish(n uint64, message []byte) error
	// load writes many messages as fast as it can.
	load(count int, message []byte) error
	close() error
}

// kinds are the stores; open returns one on a folder, and how many messages it has read there.
var kinds = []struct {
	name string
	open func(dir string) (keeper, int, error)
}{{"bare append and fsync, one at a time", openBare}, {"hawser", openHawser}, {"bbolt", openBolt}, {"pebble", openPebble}, {"JetStream", openNATS}}

func main() {
	size := flag.Int("size", 1e9, "bytes of messages to start with")
	span := flag.Duration("for", 3*time.Second, "how long to publish")
	only := flag.String("only", "", "the one store to measure; all by default")
	flag.Parse()
	fmt.Println("| store | messages/s | bytes on disk a message | start, all read | bytes on disk then |")
	fmt.Println("| --- | --- | --- | --- | --- |")
	for _, k := range kinds {
		if *only != "" && *only != k.name {
			continue
		}
		if err := measure(k.name, k.open, *size/messageSize, *span); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", k.name, err)
		}
	}
}

func measure(name string, open func(string) (keeper, int, error), count int, span time.Duration) error {
	dir, err := os.MkdirTemp(".", "stores-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	message := make([]byte, messageSize)
	for i := range message {
		message[i] = 'x'
	}
	message[0], message[messageSize-1] = '"', '"'
	first, second := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	k, _, err := open(first)
	if err != nil {
		return err
	}
	done, err := publishAll(k, message, span)
	if err != nil {
		return err
	}
	if err := k.close(); err != nil {
		return err
	}
	fmt.Printf("| %s | %.0f | %d ", name, float64(done)/span.Seconds(), onDisk(first)/int64(done))
	os.RemoveAll(first)
	if k, _, err = open(second); err != nil {
		return err
	}
	if err := k.load(count, message); err != nil {
		fmt.Println("| | |")
		return err
	}
	if err := k.close(); err != nil {
		return err
	}
	size := onDisk(second)
	began := time.Now()
	k, read, err := open(second)
	if err != nil {
		return err
	}
	fmt.Printf("| %d in %.2f s | %.2f GB |\n", read, time.Since(began).Seconds(), float64(size)/1e9)
	return k.close()
}

// publishAll publishes from all publishers at once and returns how many messages got on disk.
func publishAll(k keeper, message []byte, span time.Duration) (int, error) {
	var n atomic.Uint64
	var done atomic.Int64
	var failure atomic.Pointer[error]
	var wait sync.WaitGroup
	end := time.Now().Add(span)
	for range publishers {
		wait.Go(func() {
			for time.Now().Before(end) {
				if err := k.publish(n.Add(1), message); err != nil {
					failure.Store(&err)
					return
				}
				done.Add(1)
			}
		})
	}
	wait.Wait()
	if p := failure.Load(); p != nil {
		return 0, *p
	}
	return int(done.Load()), nil
}

func onDisk(dir string) (size int64) {
	filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if info, err := d.Info(); err == nil && !d.IsDir() {
			size += info.Size()
		}
		return nil
	})
	return size
}
