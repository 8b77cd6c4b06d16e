// Package record writes live streams to files and reads them back for playing: FLV, and fragmented MP4 (fMP4).
//
// A recording is a cursor of a stream that writes to disk: it never holds up the publisher, and what a slow disk misses is a gap with an event. Files are whole at
// every moment: after a kill they play to the last block written, which is less than a second old. The package knows no protocol and does no network I/O; who asks for a
// recording, and who plays one, is the server's business.
//
//	r, err := record.New(record.Options{Dir: "/var/lib/hawser", Patterns: []string{"/live/*"}}, hub, log)
//	if err != nil {
//		return err
//	}
//	defer r.Close()
//	r.Start("/live/cam1", record.Request{Mode: record.Append, By: "rtmp-1"})
package record

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"hawser/lifecycle"
)

// The limits that hold unless Options say otherwise.
const (
	// DefaultMaxRecordings bounds the recordings at one time; a stream in two formats counts as two.
	DefaultMaxRecordings = 100
	// DefaultName is the template of the files' names.
	DefaultName = "{path}/{time}.{ext}"
	// DefaultMaxFiles bounds the files that one look into the folder goes through.
	DefaultMaxFiles = 100_000
	// DefaultMaxKeyframes bounds the places of one file that a player may seek to; in files with more they stand further apart.
	DefaultMaxKeyframes = 16_384
	// DefaultMaxIndexes bounds the files whose places are remembered.
	DefaultMaxIndexes = 32
)

const (
	// gather is how long frames are gathered in the stream's ring before they are written: with the time of the write, what a kill may cost.
	gather = 200 * time.Millisecond
	// block is how many bytes are written at once, about.
	block = 256 << 10
	// maxSegment ends a file before FLV's timestamps, signed 32-bit milliseconds to many players, run out.
	maxSegment = 24 * 24 * time.Hour
	// lookAfter is how often a recording looks whether its file is still where it was made.
	lookAfter = time.Second
	// patience is how long Close waits for a disk before it leaves a recording to itself.
	patience = 5 * time.Second
)

// The kinds of event of recordings, with the protocol "record", the path of the stream and, where its publisher asked for the recording, that connection. Detail begins with the file's name.
const (
	KindStart = "record_start" // a file is begun or gone on with; green
	KindStop  = "record_stop"  // a file is complete; Reason says why, Detail also the bytes and the duration; green, or red after an error
	KindError = "record_error" // the recording ends, or could not begin; Reason says why; the stream goes on; red
	KindGap   = "record_gap"   // the disk was slower than the stream for longer than the ring holds; Reason slow, Detail says how many frames are missing; amber
)

// Format is a file format.
type Format uint8

// The formats. The zero value is FLV.
const (
	FLV  Format = iota // *.flv, playable over RTMP too
	FMP4               // *.mp4 in fragments, playable by browsers
)

var (
	formatWords = [...]string{"flv", "fmp4"}
	extensions  = [...]string{"flv", "mp4"}
)

// String returns "flv" or "fmp4".
func (f Format) String() string {
	if int(f) < len(formatWords) {
		return formatWords[f]
	}
	return fmt.Sprintf("Format(%d)", uint8(f))
}

// MarshalText returns the word of String.
func (f Format) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// UnmarshalText takes one of the words of String.
func (f *Format) UnmarshalText(b []byte) error {
	i := slices.Index(formatWords[:], string(b))
	if i < 0 {
		return fmt.Errorf("record: format %q: want flv or fmp4", b)
	}
	*f = Format(i)
	return nil
}

// Mode says where a recording goes.
type Mode uint8

// The modes. The zero value is NewFile.
const (
	NewFile Mode = iota // a new file
	Append              // at the end of the stream's newest file, with timestamps that go on; a new one if there is none or the codecs differ
)

// Sync says when written bytes are made to outlast a power cut. They outlast the end of the process in any case, for they are written within a second.
type Sync uint8

// The policies. The zero value is SyncClose.
const (
	SyncClose Sync = iota // when a file is complete
	SyncWrite             // after each write, several times a second
)

// Options are the settings of a Recorder; without a Dir nothing is recorded.
type Options struct {
	// Dir is the folder of the recordings. It must exist: one that is not there is a disk that is not mounted.
	Dir string
	// Patterns are the paths of streams that are always recorded, as in path.Match ("/live/*"); "/**" at the end stands for all that is below.
	Patterns []string
	// Formats are what is recorded; none means FLV.
	Formats []Format
	// Name is the template of the files' names: {path} is the stream's path, {time} the UTC time (20060102T150405Z), which must stand in the last part, {ext} the format's
	// ending. Empty means DefaultName. A name that is taken gets a number.
	Name string
	// Segment and Size begin a new file, at a keyframe, when this one is as long or has as many bytes; 0 means no bound but 24 days.
	Segment time.Duration
	Size    int64
	// Sync says when bytes are made to outlast a power cut.
	Sync Sync
	// MaxRecordings, MaxFiles, MaxKeyframes and MaxIndexes bound what the Default constants of their names say; 0 means those.
	MaxRecordings, MaxFiles, MaxKeyframes, MaxIndexes int
	// Now is the clock of names; nil means time.Now.
	Now func() time.Time
}

// filled returns the options with their defaults, or all that is wrong with them.
func (o Options) filled() (Options, error) {
	var wrong []error
	for _, p := range o.Patterns {
		if err := checkPattern(p); err != nil {
			wrong = append(wrong, err)
		}
	}
	if len(o.Formats) == 0 {
		o.Formats = []Format{FLV}
	}
	o.Formats = slices.Compact(slices.Sorted(slices.Values(o.Formats)))
	for _, f := range o.Formats {
		if int(f) >= len(extensions) {
			wrong = append(wrong, fmt.Errorf("record: format %d: want FLV or FMP4", f))
		}
	}
	if o.Name == "" {
		o.Name = DefaultName
	}
	if err := checkTemplate(o.Name); err != nil {
		wrong = append(wrong, err)
	}
	if o.Segment <= 0 || o.Segment > maxSegment {
		o.Segment = maxSegment
	}
	for _, l := range []struct {
		value *int
		usual int
	}{{&o.MaxRecordings, DefaultMaxRecordings}, {&o.MaxFiles, DefaultMaxFiles}, {&o.MaxKeyframes, DefaultMaxKeyframes}, {&o.MaxIndexes, DefaultMaxIndexes}} {
		if *l.value <= 0 {
			*l.value = l.usual
		}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o, errors.Join(wrong...)
}

// checkPattern says what is wrong with a pattern of paths.
func checkPattern(p string) error {
	if !strings.HasPrefix(p, "/") {
		return fmt.Errorf(`record: pattern %q: want one that begins with "/"`, p)
	}
	above := strings.TrimSuffix(p, "/**")
	if strings.Contains(above, "**") {
		return fmt.Errorf(`record: pattern %q: "**" is for the end, behind a "/"`, p)
	}
	if _, err := path.Match(above, ""); err != nil {
		return fmt.Errorf("record: pattern %q: %w", p, err)
	}
	return nil
}

// matches says whether a stream's path is one of the patterns'.
func matches(patterns []string, p string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		above, all := strings.CutSuffix(pattern, "/**")
		if !all {
			ok, _ := path.Match(pattern, p)
			return ok
		}
		depth := strings.Count(above, "/")
		head := p
		for i := range len(p) {
			if p[i] == '/' {
				if depth == 0 {
					head = p[:i]
					break
				}
				depth--
			}
		}
		ok, _ := path.Match(above, head)
		return ok && len(head) < len(p)
	})
}

// reasonOf puts what went wrong with a file into the words of lifecycle: a full disk or a limit on files is "limit", what is gone is "not_found".
func reasonOf(err error) lifecycle.Reason {
	var r lifecycle.Reason
	switch {
	case errors.As(err, &r):
		return r
	case isFull(err):
		return lifecycle.ReasonLimit.Because(err)
	case errors.Is(err, os.ErrNotExist):
		return lifecycle.ReasonNotFound.Because(err)
	case errors.Is(err, os.ErrPermission):
		return lifecycle.ReasonRefused.Because(err)
	case errors.Is(err, io.ErrShortWrite):
		return lifecycle.ReasonLimit.Because(err)
	}
	return lifecycle.ReasonInternal.Because(err)
}
