package flv

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

const (
	readStep        = 64 << 10 // what one step of a read trusts a length that has not been proved
	maxHeaderExtra  = 64 << 10 // bytes that a file's header may be longer than the nine known ones
	tagTypeMask     = 0x1f
	tagTypeReserved = 0xc0
	tagFiltered     = 0x20 // encrypted
)

// Reader reads the tags of an FLV file or an HTTP-FLV response. One goroutine at a time may use it.
type Reader struct {
	r      io.Reader
	offset int64
	head   [tagHeaderSize + backSize]byte
	begun  bool
}

// NewReader reads tags from r, in small steps: give it a buffered reader where r is a file or connection.
func NewReader(r io.Reader) *Reader { return &Reader{r: r} }

// Next gives the next tag; its Data is new and the caller's. At the end between two tags the error is io.EOF, inside one it
// wraps io.ErrUnexpectedEOF, and a *SyntaxError says what breaks the format. Back pointers are not checked, as many writers
// get them wrong.
func (r *Reader) Next() (Tag, error) {
	skip := backSize
	if !r.begun {
		if err := r.header(); err != nil {
			return Tag{}, err
		}
		r.begun = true
	}
	head := r.head[:skip+tagHeaderSize]
	if n, err := io.ReadFull(r.r, head); err != nil {
		if n <= skip && (err == io.EOF || err == io.ErrUnexpectedEOF) {
			return Tag{}, io.EOF
		}
		return Tag{}, r.wrap("a tag's header", err)
	}
	r.offset += int64(skip)
	head = head[skip:]
	if head[0]&tagTypeReserved != 0 {
		return Tag{}, r.fail(fmt.Sprintf("tag type 0x%02x", head[0]), "one below 0x40")
	}
	if head[0]&tagFiltered != 0 {
		return Tag{}, fmt.Errorf("flv: file at offset %d: encrypted tag: %w", r.offset, ErrUnsupported)
	}
	t := Tag{Type: head[0] & tagTypeMask, Timestamp: uint24(head[4:]) | uint32(head[7])<<24}
	r.offset += tagHeaderSize
	data, err := r.take(int(uint24(head[1:])), "a tag's data")
	t.Data = data
	return t, err
}

// header reads the file's header, up to the first back pointer.
func (r *Reader) header() error {
	b := r.head[:headerSize]
	if _, err := io.ReadFull(r.r, b); err != nil {
		return r.wrap("a file's header", err)
	}
	if string(b[:3]) != "FLV" {
		return r.fail(fmt.Sprintf("%q", b[:3]), `"FLV"`)
	}
	if b[3] != 1 {
		r.offset = 3
		return r.fail(fmt.Sprintf("version %d", b[3]), "version 1")
	}
	size := binary.BigEndian.Uint32(b[5:])
	if size < headerSize || size > headerSize+maxHeaderExtra {
		r.offset = 5
		return r.fail(fmt.Sprintf("a header of %d bytes", size), fmt.Sprintf("%d to %d", headerSize, headerSize+maxHeaderExtra))
	}
	r.offset = headerSize
	_, err := r.take(int(size)-headerSize, "a file's header")
	return err
}

// take reads n bytes into a new slice, which grows with what really arrives.
func (r *Reader) take(n int, what string) ([]byte, error) {
	b := make([]byte, 0, min(n, readStep))
	for len(b) < n {
		if len(b) == cap(b) {
			b = append(make([]byte, 0, min(n, 4*cap(b))), b...)
		}
		m, err := io.ReadFull(r.r, b[len(b):min(cap(b), n)])
		b = b[:len(b)+m]
		r.offset += int64(m)
		if err != nil {
			return nil, r.wrap(what, err)
		}
	}
	return b, nil
}

func (r *Reader) fail(got, want string) error {
	return &SyntaxError{What: "file", Offset: r.offset, Got: got, Want: want}
}

func (r *Reader) wrap(what string, err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("flv: file at offset %d: reading %s: %w", r.offset, what, err)
}
