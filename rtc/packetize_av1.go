package rtc

import (
	"encoding/binary"
	"fmt"

	"hawser/media"
)

// Open bitstream units (AV1 specification section 6.2.2), and the aggregation header of a payload (AV1's RTP payload format section 4.4).
const (
	obuSequence  = 1
	obuDelimiter = 2
	obuTileList  = 8
	obuPadding   = 15
	obuSized     = 0x02 // obu_has_size_field
	obuExtended  = 0x04 // obu_extension_flag

	av1Continues = 0x80 // Z: the first element goes on from the payload before
	av1Goes      = 0x40 // Y: the last element goes on in the payload behind
	av1New       = 0x08 // N: a coded video sequence begins
	av1Elements  = 3    // how many elements W can count: the last of them needs no length

	av1cHeader = 4 // bytes of an AV1CodecConfigurationRecord before its units
)

// nextUnit splits the unit off that b starts with: its type, its header without the size field, its content, and the bytes behind it.
func nextUnit(b []byte) (typ byte, header [2]byte, n int, content, rest []byte, err error) {
	fail := func(got string) (byte, [2]byte, int, []byte, []byte, error) {
		return 0, header, 0, nil, nil, fmt.Errorf("got %s, want an open bitstream unit", got)
	}
	if b[0]&0x80 != 0 {
		return fail(fmt.Sprintf("0x%02x", b[0]))
	}
	typ, header[0], n = b[0]>>3&15, b[0]&^obuSized, 1
	if b[0]&obuExtended != 0 {
		if len(b) < 2 {
			return fail("the end")
		}
		header[1], n = b[1], 2
	}
	content = b[n:]
	if b[0]&obuSized == 0 {
		return typ, header, n, content, nil, nil
	}
	size, used := readLEB128(content)
	if used == 0 || size > uint64(len(content)-used) {
		return fail("the end")
	}
	content = content[used:]
	return typ, header, n, content[:size], content[size:], nil
}

// readLEB128 reads a number of up to eight bytes (AV1 specification section 4.10.5); used is 0 where there is none.
func readLEB128(b []byte) (v uint64, used int) {
	v, used = binary.Uvarint(b[:min(len(b), 8)])
	return v, max(used, 0)
}

// av1 puts the units of a temporal unit into payloads, each full before the next begins, the sequence header first. Before a keyframe that has none stand those of the track's Config.
func (p *Packetizer) av1(w *groupWriter, f *media.Frame) error {
	a := av1Writer{w: w, first: f.Key}
	if f.Key && len(p.header) > 0 {
		if _, sequence, err := media.SplitAV1(f.Data); err == nil && sequence == nil {
			if err := a.units(p.header, false); err != nil {
				return err
			}
		}
	}
	return a.units(f.Data, true)
}

// av1Writer fills payloads with elements.
type av1Writer struct {
	w        *groupWriter
	at       int // where the aggregation header of the open payload stands
	elements int // in the open payload; 0: none is open
	first    bool
}

// units appends units; last says that none follow.
func (a *av1Writer) units(b []byte, last bool) error {
	var open struct {
		header  [2]byte
		n       int
		content []byte
		set     bool
	}
	for len(b) > 0 {
		typ, header, n, content, rest, err := nextUnit(b)
		if err != nil {
			return err
		}
		b = rest
		if typ == obuDelimiter || typ == obuTileList || typ == obuPadding {
			continue
		}
		if open.set { // only now it is known that another follows
			a.unit(open.header[:open.n], open.content, false)
		}
		open.header, open.n, open.content, open.set = header, n, content, true
	}
	if open.set {
		a.unit(open.header[:open.n], open.content, last)
	}
	return nil
}

// unit appends one unit as an element, or as several over several payloads. What does not fill a payload gets a length, so that another element can follow.
func (a *av1Writer) unit(header, content []byte, last bool) {
	bits := byte(0)
	for {
		if a.elements == 0 {
			a.w.next()
			a.at = len(a.w.b)
			if a.first {
				bits |= av1New
				a.first = false
			}
			a.w.b = append(a.w.b, bits)
		}
		a.elements++
		size := len(header) + len(content)
		const useful = 16 // bytes that must be left for another element
		if !last && a.elements < av1Elements && size+2+useful <= a.w.room() {
			a.w.b = binary.AppendUvarint(a.w.b, uint64(size))
			a.w.b = append(append(a.w.b, header...), content...)
			return
		}
		a.w.b[a.at] |= byte(a.elements) << 4
		a.elements = 0
		n := min(len(header), a.w.room())
		a.w.b = append(a.w.b, header[:n]...)
		header = header[n:]
		if content = a.w.take(content); len(header)+len(content) == 0 {
			return
		}
		a.w.b[a.at] |= av1Goes
		bits = av1Continues
	}
}
