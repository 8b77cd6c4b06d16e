package rtc

import (
	"encoding/binary"
	"fmt"
	"iter"
)

// A group is one frame of one track as the payloads of RTP packets, made once for all viewers:
//
//	1 byte   slot of the track: SlotVideo or SlotAudio
//	1 byte   flags: GroupKey
//	4 bytes  RTP timestamp, big endian, at the track's clock (ClockRate)
//	2 bytes  number of packets
//	each:    2 bytes length, payload
//
// What differs from viewer to viewer (SSRC, payload type, sequence number, header extensions) is not in it. Groups are shared and never change.

// Slots of a group: which of a viewer's two tracks it belongs to.
const (
	SlotVideo = 0
	SlotAudio = 1
)

// GroupKey is the flag of a group at which a decoder may start. The other bits are 0.
const GroupKey = 1

// MaxPayload is the most that a packet of a group carries, in bytes: with RTP's header, extensions, an RTX number, SRTP's tag, UDP and IPv6 a packet stays below 1280 bytes,
// which every path carries (RFC 8200 section 5).
const MaxPayload = 1160

const (
	groupHeader  = 8      // bytes before the first packet
	groupCount   = 6      // where the number of packets stands
	maxPackets   = 0xffff // of a group; a larger frame has no form
	lengthPrefix = 2      // bytes before each payload
)

// ClockRate is the rate of a slot's RTP timestamps in Hz: 90000 for video (RFC 6184, 7741, 9628), 48000 for Opus (RFC 7587).
func ClockRate(slot int) int {
	if slot == SlotAudio {
		return 48000
	}
	return 90000
}

// Group is a group that CheckGroup found whole. Its methods may run at once.
type Group []byte

// CheckGroup says whether b is a whole group.
func CheckGroup(b []byte) (Group, error) {
	if len(b) < groupHeader {
		return nil, fmt.Errorf("rtc: group: got %d bytes, want %d or more", len(b), groupHeader)
	}
	if b[0] > SlotAudio {
		return nil, fmt.Errorf("rtc: group: got slot %d, want %d or %d", b[0], SlotVideo, SlotAudio)
	}
	at := groupHeader
	for range int(binary.BigEndian.Uint16(b[groupCount:])) {
		if len(b)-at < lengthPrefix {
			return nil, fmt.Errorf("rtc: group: got the end at offset %d, want the length of a payload", at)
		}
		at += lengthPrefix + int(binary.BigEndian.Uint16(b[at:]))
		if at > len(b) {
			return nil, fmt.Errorf("rtc: group: got %d bytes, want %d", len(b), at)
		}
	}
	if at != len(b) {
		return nil, fmt.Errorf("rtc: group: got %d bytes, want %d", len(b), at)
	}
	return b, nil
}

// Slot is SlotVideo or SlotAudio.
func (g Group) Slot() int { return int(g[0]) }

// Key says that a decoder may start here.
func (g Group) Key() bool { return g[1]&GroupKey != 0 }

// Timestamp is the RTP timestamp.
func (g Group) Timestamp() uint32 { return binary.BigEndian.Uint32(g[2:]) }

// Len is the number of packets.
func (g Group) Len() int { return int(binary.BigEndian.Uint16(g[groupCount:])) }

// Packets gives each packet's number in the group and its payload, which is part of the group.
func (g Group) Packets() iter.Seq2[int, []byte] {
	return func(yield func(int, []byte) bool) {
		b := g[groupHeader:]
		for i := range g.Len() {
			end := lengthPrefix + int(binary.BigEndian.Uint16(b))
			if !yield(i, b[lengthPrefix:end]) {
				return
			}
			b = b[end:]
		}
	}
}

// Packet gives the payload number i.
func (g Group) Packet(i int) []byte {
	for n, payload := range g.Packets() {
		if n == i {
			return payload
		}
	}
	return nil
}

// Marker says whether packet i carries the marker: the last of a picture does (RFC 6184 section 5.1), none of sound.
func (g Group) Marker(i int) bool { return g[0] == SlotVideo && i == g.Len()-1 }

// groupWriter appends a group's payloads. The zero value is not ready: startGroup makes one.
type groupWriter struct {
	b      []byte
	start  int // of the group
	open   int // where the length of the open payload stands
	packet int // how many are begun
}

func startGroup(dst []byte, slot int, flags byte, timestamp uint32) groupWriter {
	w := groupWriter{start: len(dst)}
	dst = append(dst, byte(slot), flags)
	dst = binary.BigEndian.AppendUint32(dst, timestamp)
	w.b = append(dst, 0, 0)
	return w
}

// next begins a payload; room is MaxPayload from here.
func (w *groupWriter) next() {
	w.close()
	w.open = len(w.b)
	w.b = append(w.b, 0, 0)
	w.packet++
}

// room is how many bytes the open payload has left.
func (w *groupWriter) room() int { return MaxPayload - (len(w.b) - w.open - lengthPrefix) }

func (w *groupWriter) close() {
	if w.packet > 0 {
		binary.BigEndian.PutUint16(w.b[w.open:], uint16(len(w.b)-w.open-lengthPrefix))
	}
}

// finish gives the bytes with the group, or without it when it has no packet or too many.
func (w *groupWriter) finish() []byte {
	w.close()
	if w.packet == 0 || w.packet > maxPackets {
		return w.b[:w.start]
	}
	binary.BigEndian.PutUint16(w.b[w.start+groupCount:], uint16(w.packet))
	return w.b
}
