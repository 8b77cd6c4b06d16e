package server

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"hawser/flv"
	"hawser/lifecycle"
	"hawser/record"
	"hawser/rtmp"
	"hawser/stream"
)

const (
	// defaultLead is how far ahead of real time a recording is sent to a player that has not told its buffer's length.
	defaultLead = time.Second
	// maxLead bounds the lead of those that tell a very long one.
	maxLead = 10 * time.Second
	// maxReady bounds what is read of a file for a player that does not take it, in bytes.
	maxReady = 1 << 20
	// fileStep bounds what is read at once, in bytes; and pacing is the shortest time between two reads.
	fileStep = 256 << 10
	pacing   = 20 * time.Millisecond
)

// newRecorder makes the recorder; with options that are wrong it records nothing, and Serve says why.
func (s *Server) newRecorder(o record.Options) {
	var err error
	if s.recorder, err = record.New(o, s.streams, s.log); err != nil {
		s.broken = err
		s.recorder, _ = record.New(record.Options{}, s.streams, s.log)
	}
}

// publishAndRecord lets a client publish, and records what it publishes if it asks for that.
func (s *Server) publishAndRecord(ctx context.Context, st *rtmp.Stream) error {
	if err := s.rtmpPublish(ctx, st); err != nil {
		return err
	}
	switch q := (record.Request{By: st.Conn().ID()}); st.Mode() {
	case rtmp.ModeRecord:
		s.recorder.Start(st.Path(), q)
	case rtmp.ModeAppend:
		q.Mode = record.Append
		s.recorder.Start(st.Path(), q)
	}
	return nil
}

// playLiveOrFile gives a player what it asks for: a live stream, or a recording.
func (s *Server) playLiveOrFile(ctx context.Context, st *rtmp.Stream) error {
	if played, err := s.playFile(st); played || err != nil {
		return err
	}
	return s.rtmpPlay(ctx, st)
}

// stopPlaying gives up what a player has.
func stopPlaying(st *rtmp.Stream) {
	switch p := st.Data.(type) {
	case *filePlayer:
		p.close()
	case *rtmpPlayer:
		p.close()
	}
}

// playFile plays a recording to a client that asks for one, or for whatever there is when nobody publishes (RTMP 1.0 section 7.2.2.1); false means that it is to be played live.
func (s *Server) playFile(st *rtmp.Stream) (played bool, err error) {
	q := st.Request()
	if s.opts.Record.Dir == "" || q.What == rtmp.PlayLive {
		return false, nil
	}
	info, _ := s.streams.Find(st.Path())
	live := info.Status == stream.Live || info.Status == stream.Paused
	if q.What == rtmp.PlayAny && live {
		return false, nil
	}
	name, err := s.recorder.Folder().Find(st.Path())
	if err != nil {
		if q.What == rtmp.PlayAny || live { // librtmp asks for a recording even when it means anything
			return false, nil
		}
		return false, err
	}
	file, err := s.recorder.Folder().Play(name)
	if err != nil {
		return false, err
	}
	what, sure := s.carriedTo(st)
	(&codecCheck{s, what, sure}).run(st.Conn().ID(), st.Path(), file.Tracks())
	if names := what.leftOut(file.Tracks()); names != "" {
		st.SendStatus("warning", statusNoTrack, leftOutText+names+".")
	}
	p := &filePlayer{stream: st, chunk: s.chunkSize(), what: what, file: file, to: q.Start, moved: q.Start > 0, origin: file.Place(q.Start), began: time.Now()}
	if q.Duration > 0 {
		p.until = p.origin + q.Duration
	}
	p.newest = p.origin
	st.Data = p
	st.SetSource(p)
	p.mu.Lock()
	p.scheduleLocked(0)
	p.mu.Unlock()
	return true, nil
}

// filePlayer gives one player a recorded file in real time. It holds a timer and no goroutine: the file is read when more is due, by the timer's goroutine and under no lock.
// It implements rtmp.Control.
type filePlayer struct {
	stream *rtmp.Stream
	chunk  int
	what   carried
	file   record.Reader // used by whoever is busy
	until  time.Duration // the end that was asked for; 0 for that of the file

	mu     sync.Mutex
	timer  *time.Timer
	ready  [][]byte // read, and not yet taken
	size   int      // of ready
	busy   bool     // somebody reads
	moved  bool     // the next read begins at to
	to     time.Duration
	moves  int // counts Seeks
	paused bool
	done   bool // all is read
	told   bool // and the player knows
	closed bool
	began  time.Time     // when the clock was set
	origin time.Duration // to this time
	newest time.Duration // of what was read
}

// Fill implements netio.Source.
func (p *filePlayer) Fill(dst [][]byte, most int) [][]byte {
	p.mu.Lock()
	full, size, n := p.size >= maxReady, 0, 0
	for n < len(p.ready) && size < most {
		dst = append(dst, p.ready[n])
		size += len(p.ready[n])
		n++
	}
	clear(p.ready[:n])
	if p.ready, p.size = p.ready[n:], p.size-size; len(p.ready) == 0 {
		p.ready = nil
	}
	if full && p.size < maxReady {
		p.scheduleLocked(0)
	}
	tell := p.done && !p.told && len(p.ready) == 0 && size < most
	p.told = p.told || tell
	p.mu.Unlock()
	if tell {
		p.stream.Complete(p.file.Length())
	}
	return dst
}

// Pause implements rtmp.Control. The player goes on with what it has got already, so that nothing is sent twice.
func (p *filePlayer) Pause(paused bool, _ time.Duration) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.paused == paused {
		return nil
	}
	if paused {
		p.origin += time.Since(p.began)
	} else {
		p.began = time.Now()
	}
	p.paused = paused
	p.scheduleLocked(0)
	return nil
}

// Seek implements rtmp.Control: it goes to the keyframe at or before a time.
func (p *filePlayer) Seek(to time.Duration) (at time.Duration, err error) {
	if to > p.file.Length() {
		return 0, lifecycle.ReasonBadRequest.With("%v is behind the end, which is at %v", to, p.file.Length())
	}
	at = p.file.Place(to)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.moved, p.to, p.moves = true, to, p.moves+1
	p.ready, p.size, p.done, p.told = nil, 0, false, false
	p.origin, p.newest, p.began = at, at, time.Now()
	p.scheduleLocked(0)
	return at, nil
}

// close gives everything up. It may be called more than once.
func (p *filePlayer) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.closed = true
	p.timer.Stop()
	if !p.busy {
		p.file.Close()
	}
}

// scheduleLocked has read run after a time. Whoever is busy does so anyway.
func (p *filePlayer) scheduleLocked(after time.Duration) {
	switch {
	case p.busy || p.closed:
	case p.timer == nil:
		p.timer = time.AfterFunc(after, p.read)
	default:
		p.timer.Reset(after)
	}
}

// lead is how far ahead of real time the player wants to be.
func (p *filePlayer) lead() time.Duration {
	if buffer := p.stream.Request().Buffer; buffer > 0 {
		return min(max(buffer, defaultLead/2), maxLead)
	}
	return defaultLead
}

// read reads what is due, and says when to read again.
func (p *filePlayer) read() {
	p.mu.Lock()
	if p.busy || p.closed || p.paused || p.done || p.size >= maxReady {
		p.mu.Unlock()
		return
	}
	lead, moves, newest := p.lead(), p.moves, p.newest
	due := p.origin + time.Since(p.began) + lead
	if p.moved {
		p.file.Seek(p.to) // no I/O
	}
	p.busy, p.moved = true, false
	p.mu.Unlock()

	var ready [][]byte
	var err error
	size := 0
	for err == nil && newest < due && size < fileStep {
		var m []byte
		if m, newest, err = p.next(newest); len(m) > 0 {
			ready, size = append(ready, m), size+len(m)
		}
	}

	p.mu.Lock()
	p.busy = false
	switch {
	case p.closed:
		p.file.Close()
		p.mu.Unlock()
		return
	case p.moves != moves: // what was read is of another place
		p.scheduleLocked(0)
	default:
		p.ready, p.size, p.newest, p.done = append(p.ready, ready...), p.size+size, newest, err != nil
		if !p.done && p.size < maxReady {
			p.scheduleLocked(max(newest-lead-p.origin-time.Since(p.began), pacing))
		}
	}
	p.mu.Unlock()
	if err != nil && !errors.Is(err, io.EOF) {
		p.stream.Conn().Close(lifecycle.ReasonInternal.Because(err))
		return
	}
	p.stream.Wake()
}

// next gives the next tag as an RTMP message, and the newest time so far; no bytes for one that the player does not read.
func (p *filePlayer) next(newest time.Duration) ([]byte, time.Duration, error) {
	tag, err := p.file.Next()
	if err != nil {
		return nil, newest, err
	}
	newest = max(newest, time.Duration(tag.Timestamp)*time.Millisecond)
	if p.until > 0 && newest > p.until {
		return nil, newest, io.EOF
	}
	if !p.what.readsBody(flv.BodyTrack(tag.Type, tag.Data)) {
		return nil, newest, nil
	}
	m := rtmp.Message{Type: tag.Type, StreamID: rtmp.MediaStreamID, Timestamp: tag.Timestamp, Payload: tag.Data}
	return rtmp.AppendMessage(nil, p.chunk, m), newest, nil
}
