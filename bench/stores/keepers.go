package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/cockroachdb/pebble"
	natsd "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	bolt "go.etcd.io/bbolt"

	"hawser/store"
	"hawser/subject"
)

// loadBatch is how many messages are loaded at once.
const loadBatch = 10_000

func key(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// bare is a file that is written and synced under a lock.
type bare struct {
	mu sync.Mutex
	f  *os.File
}

func openBare(dir string) (keeper, int, error) {
	os.MkdirAll(dir, 0o700)
	b, _ := os.ReadFile(filepath.Join(dir, "bare"))
	f, err := os.OpenFile(filepath.Join(dir, "bare"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	return &bare{f: f}, len(b) / messageSize, err
}

func (b *bare) publish(_ uint64, message []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.f.Write(message)
	return b.f.Sync()
}

func (b *bare) load(count int, message []byte) error {
	for range count {
		b.f.Write(message)
	}
	return nil
}

func (b *bare) close() error { return b.f.Close() }

// hawser is a hub with durable logs, of which each keeps 10,000 messages.
type hawser struct{ h *subject.Hub }

func openHawser(dir string) (keeper, int, error) {
	h := subject.NewHub(subject.Options{})
	err := h.Persist(subject.Durable{Dir: dir, Match: func(string) bool { return true }, Store: store.Options{SnapshotBytes: 1 << 40}})
	read := 0
	for _, info := range h.List() {
		read += info.Items
	}
	return hawser{h}, read, err
}

func (k hawser) publish(_ uint64, message []byte) error {
	_, _, err := k.h.Publish("/log", subject.Log, subject.Update{Data: message})
	return err
}

func (k hawser) load(count int, message []byte) error {
	slots := make(chan struct{}, 4096)
	for n := range count {
		slots <- struct{}{}
		k.h.PublishThen(fmt.Sprint("/log/", n/loadBatch), subject.Log, subject.Update{Data: message}, func(_, _ uint64, _ error) { <-slots })
	}
	return nil
}

func (k hawser) close() error { return k.h.CloseStore() }

// bbolt gathers what comes at once in one transaction.
type bbolt struct{ db *bolt.DB }

var bucket = []byte("log")

func openBolt(dir string) (keeper, int, error) {
	os.MkdirAll(dir, 0o700)
	db, err := bolt.Open(filepath.Join(dir, "db"), 0o600, nil)
	if err != nil {
		return nil, 0, err
	}
	db.MaxBatchSize, db.MaxBatchDelay = publishers, time.Millisecond
	read := 0
	err = db.Update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(bucket)
		if err != nil {
			return err
		}
		return b.ForEach(func(_, _ []byte) error { read++; return nil })
	})
	return &bbolt{db}, read, err
}

func (k *bbolt) publish(n uint64, message []byte) error {
	return k.db.Batch(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucket)
		b.FillPercent = 1
		return b.Put(key(n), message)
	})
}

func (k *bbolt) load(count int, message []byte) error {
	k.db.NoSync = true
	for from := 0; from < count; from += loadBatch {
		err := k.db.Update(func(tx *bolt.Tx) error {
			b := tx.Bucket(bucket)
			b.FillPercent = 1
			for n := range loadBatch {
				if err := b.Put(key(uint64(from+n)), message); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (k *bbolt) close() error { return k.db.Close() }

// pebbles groups commits itself.
type pebbles struct{ db *pebble.DB }

type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(format string, args ...any) {
	panic(fmt.Sprintf(format, args...))
}

func openPebble(dir string) (keeper, int, error) {
	db, err := pebble.Open(dir, &pebble.Options{Logger: quiet{}})
	if err != nil {
		return nil, 0, err
	}
	it, err := db.NewIter(nil)
	if err != nil {
		return nil, 0, err
	}
	read := 0
	for ok := it.First(); ok; ok = it.Next() {
		read++
	}
	return &pebbles{db}, read, it.Close()
}

func (k *pebbles) publish(n uint64, message []byte) error {
	return k.db.Set(key(n), message, pebble.Sync)
}

func (k *pebbles) load(count int, message []byte) error {
	for n := range count {
		if err := k.db.Set(key(uint64(n)), message, pebble.NoSync); err != nil {
			return err
		}
	}
	return nil
}

func (k *pebbles) close() error { return k.db.Close() }

// jetStream is a server in the process, with a stream on disk that syncs always.
type jetStream struct {
	s    *natsd.Server
	conn *nats.Conn
	js   nats.JetStreamContext
}

func openNATS(dir string) (keeper, int, error) {
	s, err := natsd.NewServer(&natsd.Options{JetStream: true, StoreDir: dir, DontListen: true, NoLog: true, NoSigs: true, SyncAlways: true})
	if err != nil {
		return nil, 0, err
	}
	s.Start()
	if !s.ReadyForConnections(time.Minute) {
		return nil, 0, fmt.Errorf("not ready")
	}
	conn, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		return nil, 0, err
	}
	js, err := conn.JetStream(nats.PublishAsyncMaxPending(4096))
	if err != nil {
		return nil, 0, err
	}
	if _, err = js.AddStream(&nats.StreamConfig{Name: "log", Subjects: []string{"log"}}); err != nil {
		return nil, 0, err
	}
	info, err := js.StreamInfo("log")
	if err != nil {
		return nil, 0, err
	}
	return &jetStream{s, conn, js}, int(info.State.Msgs), nil
}

func (k *jetStream) publish(_ uint64, message []byte) error {
	_, err := k.js.Publish("log", message)
	return err
}

// load gives up after a minute: every message is synced.
func (k *jetStream) load(count int, message []byte) error {
	end := time.Now().Add(time.Minute)
	for n := range count {
		if _, err := k.js.PublishAsync("log", message); err != nil {
			return err
		}
		if n%1000 == 0 && time.Now().After(end) {
			return fmt.Errorf("only %d of %d loaded in a minute", n, count)
		}
	}
	<-k.js.PublishAsyncComplete()
	return nil
}

func (k *jetStream) close() error {
	k.conn.Close()
	k.s.Shutdown()
	k.s.WaitForShutdown()
	return nil
}
