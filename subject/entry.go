package subject

import (
	"encoding/binary"
	"errors"
	"time"
)

// What an entry on disk is; its first byte.
const (
	entryUpdate    byte = 1 // a publish
	entryState     byte = 2 // of a snapshot: all of a record or a document, or where a log's history begins
	entryRemoved   byte = 3 // the subject has ended
	entryPublished byte = 4 // of a snapshot: a publish that was acknowledged to its publisher not long ago
)

// Flags of an entry.
const (
	hasMedia byte = 1
	isPatch  byte = 2
)

var errEntry = errors.New("the entry is none of a subject's")

// entryHead is what entries of updates and states begin with.
type entryHead struct {
	path   []byte
	epoch  uint64
	offset uint64 // of the update, or of the next one
	kind   Kind
	flags  byte
	at     time.Time
	media  time.Duration
	ttl    time.Duration
}

func appendText[T string | []byte](dst []byte, text T) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(text))), text...)
}

func appendHead(dst []byte, what byte, path string, epoch, offset uint64, kind Kind, flags byte, at time.Time, media, ttl time.Duration) []byte {
	dst = appendText(append(dst, what), path)
	dst = binary.LittleEndian.AppendUint64(dst, epoch)
	dst = binary.AppendUvarint(dst, offset)
	dst = append(dst, byte(kind), flags)
	dst = binary.AppendVarint(dst, at.UnixNano())
	dst = binary.AppendVarint(dst, int64(media))
	return binary.AppendVarint(dst, int64(ttl))
}

// appendUpdateEntry appends an update as it stands on disk.
func appendUpdateEntry(dst []byte, path string, epoch, offset uint64, kind Kind, u *Update) []byte {
	var flags byte
	if u.HasMedia {
		flags |= hasMedia
	}
	if u.Patch != nil {
		flags |= isPatch
	}
	dst = appendHead(dst, entryUpdate, path, epoch, offset, kind, flags, u.At, u.Media, u.TTL)
	dst = binary.AppendUvarint(appendText(dst, u.Publisher), u.ID)
	if kind != Record {
		return append(append(dst, u.Data...), u.Patch...) // one of the two
	}
	dst = binary.AppendUvarint(dst, uint64(len(u.Fields)))
	for _, f := range u.Fields {
		dst = appendValue(appendText(dst, f.Name), f.Value)
	}
	return dst
}

// appendValue appends a value of a record; nil is not the same as one without bytes.
func appendValue(dst, value []byte) []byte {
	if value == nil {
		return append(dst, 0)
	}
	return appendText(append(dst, 1), value)
}

// decoder takes an entry apart; once something is wrong all that follows is zero. What it returns aliases the entry.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) take(n uint64) (b []byte) {
	if d.bad || n > uint64(len(d.b)) {
		d.bad = true
		return nil
	}
	b, d.b = d.b[:n:n], d.b[n:]
	return b
}

func (d *decoder) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) fixed() uint64 {
	if b := d.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (d *decoder) number() uint64 {
	v, n := binary.Uvarint(d.b)
	d.take(uint64(max(n, 0)))
	d.bad = d.bad || n <= 0
	return v
}

func (d *decoder) signed() int64 {
	v, n := binary.Varint(d.b)
	d.take(uint64(max(n, 0)))
	d.bad = d.bad || n <= 0
	return v
}

func (d *decoder) text() []byte { return d.take(d.number()) }

func (d *decoder) value() []byte {
	if d.byte() == 0 {
		return nil
	}
	return d.text()
}

func (d *decoder) head() (h entryHead) {
	h.path, h.epoch, h.offset = d.text(), d.fixed(), d.number()
	h.kind, h.flags = Kind(d.byte()), d.byte()
	h.at, h.media, h.ttl = time.Unix(0, d.signed()), time.Duration(d.signed()), time.Duration(d.signed())
	d.bad = d.bad || h.kind < Log || h.kind > JSON
	return h
}

// update returns what comes after the head of an update. The publisher is left to the caller, who may know it already.
func (d *decoder) update(h *entryHead) (u Update, publisher []byte) {
	u = Update{At: h.at, Media: h.media, HasMedia: h.flags&hasMedia != 0, TTL: h.ttl}
	publisher, u.ID = d.text(), d.number()
	switch {
	case h.kind == Record:
		u.Fields = make([]Field, 0, min(d.number(), uint64(len(d.b))))
		for len(d.b) > 0 && !d.bad {
			u.Fields = append(u.Fields, Field{Name: string(d.text()), Value: d.value()})
		}
	case h.flags&isPatch != 0:
		u.Patch = d.b
	default:
		u.Data = d.b
	}
	return u, publisher
}

func appendRemoved(dst []byte, path string, epoch uint64) []byte {
	return binary.LittleEndian.AppendUint64(appendText(append(dst, entryRemoved), path), epoch)
}

func appendPublished(dst []byte, p *Published) []byte {
	dst = appendText(append(dst, entryPublished), p.Publisher)
	dst = appendText(binary.AppendUvarint(dst, p.ID), p.Path)
	return binary.AppendUvarint(binary.LittleEndian.AppendUint64(dst, p.Epoch), p.Offset)
}
