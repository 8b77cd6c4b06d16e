package record

import (
	"io"
	"os"
	"sync"
	"time"

	"hawser/lifecycle"
	"hawser/stream"
)

// Request is what somebody wants recorded.
type Request struct {
	Mode Mode
	// By is the identity of the publisher's connection, for the log.
	By string
}

// file is what a recording needs of its file.
type file interface {
	io.WriterAt
	Sync() error
	Truncate(size int64) error
	Stat() (os.FileInfo, error)
	Close() error
}

// Recorder writes streams to files. All methods may run at once.
type Recorder struct {
	opts   Options
	hub    *stream.Hub
	log    *lifecycle.Log
	folder *Folder
	wrap   func(*os.File) file // tests put their faults around a file

	mu     sync.Mutex
	active map[key]*recording
	failed map[key]bool // not to be tried again before the next publish
	closed bool
	wait   sync.WaitGroup
}

// key names a recording: a stream in one format.
type key struct {
	path   string
	format Format
}

// New makes a recorder of a hub's streams. It records nothing by itself: Start and Changed do. The error says all that is wrong with the options.
func New(o Options, hub *stream.Hub, log *lifecycle.Log) (*Recorder, error) {
	o, err := o.filled()
	if err != nil {
		return nil, err
	}
	return &Recorder{opts: o, hub: hub, log: log, folder: newFolder(o), wrap: func(f *os.File) file { return f }, active: map[key]*recording{}, failed: map[key]bool{}}, nil
}

// Folder returns the folder of the recordings.
func (r *Recorder) Folder() *Folder { return r.folder }

// Changed takes the change of a stream (stream.Options.OnChange) and starts to record one that has a publisher and matches a pattern. A recording that has failed is tried again
// at the next publish.
func (r *Recorder) Changed(info stream.Info) {
	switch {
	case r.opts.Dir == "":
	case info.Status != stream.Live:
		r.forget(info.Path)
	case matches(r.opts.Patterns, info.Path):
		r.start(info.Path, Request{}, false)
	}
}

// Start records a stream that somebody publishes now, from its next keyframe on, until it ends. A stream that is recorded already goes on as it is; when it has no file
// yet, the request's mode replaces the earlier. What goes wrong is told to the log. Without a folder it does nothing.
func (r *Recorder) Start(path string, q Request) {
	if r.opts.Dir != "" {
		r.start(path, q, true)
	}
}

// start is Start; asked says that somebody asks, for whom a recording that has failed is tried again.
func (r *Recorder) start(path string, q Request, asked bool) {
	for _, f := range r.opts.Formats {
		if why := r.startFormat(key{path, f}, q, asked); !why.IsZero() {
			r.log.Add(lifecycle.Event{Kind: KindError, Protocol: "record", Conn: q.By, Path: path, Light: lifecycle.Red, Reason: why, Detail: f.String()})
		}
	}
}

func (r *Recorder) startFormat(k key, q Request, asked bool) lifecycle.Reason {
	r.mu.Lock()
	defer r.mu.Unlock()
	if asked {
		delete(r.failed, k)
	}
	if old := r.active[k]; old != nil {
		if asked {
			old.ask(q)
		}
		return lifecycle.Reason{}
	}
	if r.closed || r.failed[k] {
		return lifecycle.Reason{}
	}
	why := r.openLocked(k, q)
	if !why.IsZero() {
		r.failed[k] = true
	}
	return why
}

// openLocked starts a recording.
func (r *Recorder) openLocked(k key, q Request) lifecycle.Reason {
	if len(r.active) >= r.opts.MaxRecordings {
		return lifecycle.Reached("MaxRecordings", r.opts.MaxRecordings)
	}
	names, err := r.opts.naming(k.path, k.format)
	if err != nil {
		return lifecycle.ReasonBadRequest.Because(err)
	}
	s, err := r.hub.Open(k.path)
	if err != nil {
		return lifecycle.ReasonOf(err)
	}
	_, head := s.Frames().Bounds()
	rec := &recording{recorder: r, key: k, names: names, stream: s, cursor: s.Frames().Cursor(head), began: head, request: q, by: q.By,
		woken: make(wakeup, 1), stop: make(chan struct{})}
	r.active[k] = rec
	r.wait.Go(rec.run)
	return lifecycle.Reason{}
}

// forget lets the recordings of a stream that have failed be tried again.
func (r *Recorder) forget(path string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.opts.Formats {
		delete(r.failed, key{path, f})
	}
}

// over takes a recording out. One that is only at the end of what there is stays (false) if there is more by now. The recording's own goroutine calls it.
func (r *Recorder) over(rec *recording, failed bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case failed || r.closed:
	case rec.unwanted && len(rec.next) > 0: // it is wanted after all
		rec.unwanted, rec.request, rec.opened, rec.next = false, rec.next[0].Request, false, rec.next[1:]
		return false
	case !rec.unwanted && rec.cursor.Lag() > 0:
		return false
	}
	delete(r.active, rec.key)
	if info, _ := r.hub.Find(rec.key.path); failed && info.Status == stream.Live {
		r.failed[rec.key] = true // until the stream has another publisher
	}
	return true
}

// Close ends all recordings, completes their files and waits for that, unless a disk takes longer than five seconds. Later Starts do nothing.
func (r *Recorder) Close() {
	r.mu.Lock()
	if !r.closed {
		r.closed = true
		for _, rec := range r.active {
			close(rec.stop)
		}
	}
	r.mu.Unlock()
	done := make(chan struct{})
	go func() {
		r.wait.Wait()
		close(done)
	}()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	select {
	case <-done:
	case <-timeout.C:
	}
}
