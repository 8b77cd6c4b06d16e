package store

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
)

// An entry on disk: two bytes that mark it, the version, flags, length and CRC-32C of what it carries, CRC-32C of these twelve bytes; then what it carries. All numbers are little endian.
const (
	mark0, mark1, version = 'H', 'w', 1

	headerSize = 16
	maxEntry   = 1 << 30 // bytes that one may carry

	flagFirst byte = 1 // the first of its batch: all before it was on disk when it was written
	flagEnd   byte = 2 // the last of a snapshot
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func appendEntry(dst, payload []byte, flags byte) []byte {
	at := len(dst)
	dst = append(dst, mark0, mark1, version, flags)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(payload)))
	dst = binary.LittleEndian.AppendUint32(dst, crc32.Checksum(payload, castagnoli))
	dst = binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[at:at+12], castagnoli))
	return append(dst, payload...)
}

// Batch is entries that are to be committed together. The zero value is empty; its methods may not run at once.
type Batch struct{ b []byte }

// Add puts one more entry, of less than 1 GiB, into the batch; the bytes are copied.
func (b *Batch) Add(payload []byte) {
	var flags byte
	if len(b.b) == 0 {
		flags = flagFirst
	}
	b.b = appendEntry(b.b, payload, flags)
}

// Size is how many bytes the batch takes on disk.
func (b *Batch) Size() int { return len(b.b) }

// Reset empties the batch.
func (b *Batch) Reset() { b.b = b.b[:0] }

// readAhead is how many bytes a reader takes at once.
const readAhead = 1 << 20

// reader goes over the entries of a file. What is no entry is skipped.
type reader struct {
	file io.ReaderAt
	size int64
	at   int64 // of what next looks at

	window []byte // what was read, from start on
	start  int64
}

// entry is what next has found; payload is good until the next call.
type entry struct {
	payload []byte
	flags   byte
}

// peek returns n bytes at the reader's place; the file must have them.
func (r *reader) peek(n int64) ([]byte, error) {
	from := r.at - r.start
	if from >= 0 && from+n <= int64(len(r.window)) {
		return r.window[from : from+n], nil
	}
	want := min(max(n, readAhead), r.size-r.at)
	if int64(cap(r.window)) < want {
		r.window = make([]byte, want)
	}
	r.window, r.start = r.window[:want], r.at
	got, err := r.file.ReadAt(r.window, r.at)
	if got < len(r.window) {
		r.window = r.window[:0]
		return nil, fmt.Errorf("at %d: got %d bytes, want %d: %w", r.at, got, want, err)
	}
	return r.window[:n], nil
}

// here returns the entry at the reader's place and its size; 0 when there is none.
func (r *reader) here() (e entry, size int64, err error) {
	if r.size-r.at < headerSize {
		return e, 0, nil
	}
	h, err := r.peek(headerSize)
	if err != nil {
		return e, 0, err
	}
	if h[0] != mark0 || h[1] != mark1 || h[2] != version || crc32.Checksum(h[:12], castagnoli) != binary.LittleEndian.Uint32(h[12:]) {
		return e, 0, nil
	}
	length, sum := int64(binary.LittleEndian.Uint32(h[4:])), binary.LittleEndian.Uint32(h[8:])
	if length > maxEntry || length > r.size-r.at-headerSize {
		return e, 0, nil
	}
	flags := h[3]
	b, err := r.peek(headerSize + length)
	if err != nil || crc32.Checksum(b[headerSize:], castagnoli) != sum {
		return e, 0, err
	}
	return entry{b[headerSize:], flags}, headerSize + length, nil
}

// next returns the next entry, and how many bytes before it were none; io.EOF at the end, with the bytes before that.
func (r *reader) next() (e entry, skipped int64, err error) {
	from := r.at
	for r.at < r.size {
		e, size, err := r.here()
		if err != nil {
			return e, r.at - from, err
		}
		if size > 0 {
			skipped = r.at - from
			r.at += size
			return e, skipped, nil
		}
		r.at++
	}
	return e, r.at - from, io.EOF
}

// batchAfter says whether a batch begins at or after a place: then all before it had been on disk.
func (r *reader) batchAfter(at int64) (bool, error) {
	ahead := reader{file: r.file, size: r.size, at: at}
	for {
		e, _, err := ahead.next()
		switch {
		case err == io.EOF:
			return false, nil
		case err != nil:
			return false, err
		case e.flags&flagFirst != 0:
			return true, nil
		}
	}
}
