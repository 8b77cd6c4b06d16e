package fmp4

import (
	"encoding/binary"
	"math"
	"slices"
)

// fragmentHead is a moof of one run of one sample, and the header of its mdat; appendFragment fills in the zeros.
const fragmentHead = "" +
	"\x00\x00\x00\x68moof" +
	"\x00\x00\x00\x10mfhd\x00\x00\x00\x00" + "\x00\x00\x00\x00" + // sequence number
	"\x00\x00\x00\x50traf" +
	"\x00\x00\x00\x10tfhd\x00\x02\x00\x00" + "\x00\x00\x00\x00" + // default-base-is-moof; track
	"\x00\x00\x00\x14tfdt\x01\x00\x00\x00" + "\x00\x00\x00\x00\x00\x00\x00\x00" + // version 1; decoding time
	"\x00\x00\x00\x24trun\x01\x00\x0f\x01" + // version 1; data offset, duration, size, flags and composition offset are present
	"\x00\x00\x00\x01" + "\x00\x00\x00\x70" + // one sample; its bytes begin 112 bytes from the start of the moof
	"\x00\x00\x00\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00" + // duration, size, flags, composition offset
	"\x00\x00\x00\x00mdat"

// Where appendFragment fills in what.
const (
	atSequence = 20
	atTrack    = 44
	atTime     = 60
	atDuration = 88
	atSize     = 92
	atFlags    = 96
	atOffset   = 100
	atMdat     = 104

	maxSample = math.MaxUint32 - 8 // bytes, so that an mdat's size fits
)

// Sample flags (ISO 14496-12 section 8.8.3.1).
const (
	flagsKey   = 0x02000000 // depends on no other sample
	flagsDelta = 0x01010000 // depends on others; is no sync sample
)

// appendFragment appends a moof and mdat (ISO 14496-12 section 8.8).
func appendFragment(dst []byte, sequence, track uint32, s sample, data []byte) []byte {
	start := len(dst)
	dst = slices.Grow(dst, len(fragmentHead)+len(data))
	dst = append(dst, fragmentHead...)
	flags := uint32(flagsDelta)
	if s.key {
		flags = flagsKey
	}
	head := dst[start:]
	put := binary.BigEndian.PutUint32
	put(head[atSequence:], sequence)
	put(head[atTrack:], track)
	binary.BigEndian.PutUint64(head[atTime:], uint64(s.at))
	put(head[atDuration:], s.duration)
	put(head[atSize:], uint32(len(data)))
	put(head[atFlags:], flags)
	put(head[atOffset:], uint32(s.offset))
	put(head[atMdat:], uint32(8+len(data)))
	return append(dst, data...)
}
