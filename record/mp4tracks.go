package record

import (
	"encoding/binary"
	"fmt"

	"hawser/media"
)

// Where the boxes of a sample entry begin (ISO 14496-12 sections 12.1.3 and 12.2.3), behind the fields that every picture or sound has.
const (
	visualFields = 78
	soundFields  = 28
)

// mp4Tracks reads the tracks of a moov; those whose codec is not known are left out.
func mp4Tracks(moov []byte) (tracks []mp4Track, err error) {
	for _, trak := range boxes(moov, "moov", "trak") {
		ids, clocks, entries := boxes(trak, "tkhd"), boxes(trak, "mdia", "mdhd"), boxes(trak, "mdia", "minf", "stbl", "stsd")
		if len(ids) != 1 || len(clocks) != 1 || len(entries) != 1 || len(entries[0]) < 8 {
			return nil, errNoMP4
		}
		t := mp4Track{}
		id, clock := afterTimes(ids[0]), afterTimes(clocks[0])
		if t.id, t.scale = id.u32(), clock.u32(); id.short || clock.short || t.scale == 0 {
			return nil, errNoMP4
		}
		track, known, err := sampleEntry(entries[0][8:])
		if err != nil {
			return nil, fmt.Errorf("record: track %d: %w", t.id, err)
		}
		if !known || t.id >= maxTracks {
			continue
		}
		t.Track, t.Track.ID, t.Track.Kind = track, int(t.id), track.Codec.Kind()
		for _, b := range boxes(moov, "moov", "mvex", "trex") {
			if f := (fields{b: b}); len(b) >= 24 && binary.BigEndian.Uint32(b[4:]) == t.id {
				f.b = b[12:]
				t.duration, t.size, t.flags = f.u32(), f.u32(), f.u32()
			}
		}
		tracks = append(tracks, t)
	}
	if len(tracks) == 0 {
		return nil, errNoMP4
	}
	return tracks, nil
}

// afterTimes is what stands in a tkhd or mdhd behind the times of its making.
func afterTimes(b []byte) fields {
	at := 4 + 8
	if len(b) > 0 && b[0] == 1 {
		at = 4 + 16
	}
	return fields{b: b[min(at, len(b)):]}
}

// sampleEntry reads the first sample entry.
func sampleEntry(b []byte) (t media.Track, known bool, err error) {
	if len(b) < 8+soundFields {
		return t, false, nil
	}
	typ, inside := string(b[4:8]), b[8:min(uint32(len(b)), max(binary.BigEndian.Uint32(b), 8))]
	part := func(fields int, name string) []byte {
		if len(inside) < fields {
			return nil
		}
		if found := boxes(inside[fields:], name); len(found) > 0 {
			return found[0]
		}
		return nil
	}
	switch typ {
	case "avc1", "avc3":
		t, err = media.ParseAVCC(part(visualFields, "avcC"))
	case "hvc1", "hev1":
		t, err = media.ParseHVCC(part(visualFields, "hvcC"))
	case "av01":
		t, err = media.ParseAV1C(part(visualFields, "av1C"))
	case "vp09":
		t, err = media.ParseVPCC(full(part(visualFields, "vpcC")))
	case "mp4a":
		t, err = esds(full(part(soundFields, "esds")))
	case "Opus":
		t, err = opus(part(soundFields, "dOps"))
	case "fLaC":
		if b := full(part(soundFields, "dfLa")); len(b) > 4 { // the block's own header
			t, err = media.ParseFLAC(b[4:])
		}
	case "ac-3":
		t = media.Track{Codec: media.AC3, Config: part(soundFields, "dac3")}
	case "ec-3":
		t = media.Track{Codec: media.EAC3, Config: part(soundFields, "dec3")}
	}
	if err != nil || t.Codec == media.CodecNone {
		return t, false, err
	}
	if t.Codec.Kind() == media.Video {
		if len(inside) >= visualFields && t.Width == 0 {
			t.Width, t.Height = int(binary.BigEndian.Uint16(inside[24:])), int(binary.BigEndian.Uint16(inside[26:]))
		}
		t.Color = color(part(visualFields, "colr"), part(visualFields, "mdcv"), part(visualFields, "clli"))
		return t, true, nil
	}
	if t.Channels == 0 {
		t.Channels = int(binary.BigEndian.Uint16(inside[16:]))
	}
	if t.SampleRate == 0 {
		t.SampleRate = int(binary.BigEndian.Uint32(inside[24:]) >> 16)
	}
	return t, true, nil
}

// full is the content of a box behind version and flags.
func full(b []byte) []byte { return b[min(4, len(b)):] }

// esds reads the elementary stream descriptor of AAC or MP3 (ISO 14496-1 section 7.2.6.5).
func esds(b []byte) (t media.Track, err error) {
	const stream, decoder, specific = 3, 4, 5
	const aac, mp3, mp3MPEG2 = 0x40, 0x6b, 0x69
	outer := descriptor(b, stream)
	if len(outer) < 3 {
		return t, nil
	}
	outer = outer[3:] // without flags that add something, as all are that we write
	config := descriptor(outer, decoder)
	if len(config) < 13 {
		return t, nil
	}
	switch config[0] {
	case aac:
		return media.ParseASC(descriptor(config[13:], specific))
	case mp3, mp3MPEG2:
		t.Codec = media.MP3
	}
	return t, nil
}

// descriptor gives the content of the first descriptor with a tag.
func descriptor(b []byte, tag byte) []byte {
	for len(b) >= 2 {
		found, n, at := b[0], 0, 1
		for more := true; more && at < min(len(b), 5); at++ {
			n, more = n<<7|int(b[at]&0x7f), b[at]&0x80 != 0
		}
		end := min(at+n, len(b))
		if found == tag {
			return b[at:end]
		}
		b = b[end:]
	}
	return nil
}

// opus makes an identification header of an OpusSpecificBox.
func opus(b []byte) (media.Track, error) {
	if len(b) < 11 {
		return media.ParseOpusHead(nil)
	}
	big, little := binary.BigEndian, binary.LittleEndian
	head := append([]byte("OpusHead\x01"), b[1])
	head = little.AppendUint16(head, big.Uint16(b[2:]))
	head = little.AppendUint32(head, big.Uint32(b[4:]))
	head = little.AppendUint16(head, big.Uint16(b[8:]))
	return media.ParseOpusHead(append(head, b[10:]...))
}

// color reads what there is of colr, mdcv and clli.
func color(colr, mdcv, clli []byte) (c media.Color) {
	if len(colr) >= 10 && string(colr[:4]) == "nclx" {
		c.Primaries, c.Transfer, c.Matrix = colr[5], colr[7], colr[9]
	}
	if len(mdcv) >= 24 {
		for i, to := range []*float64{&c.GreenX, &c.GreenY, &c.BlueX, &c.BlueY, &c.RedX, &c.RedY, &c.WhiteX, &c.WhiteY} {
			*to = float64(binary.BigEndian.Uint16(mdcv[2*i:])) / 50000
		}
		c.MaxLuminance, c.MinLuminance = float64(binary.BigEndian.Uint32(mdcv[16:]))/10000, float64(binary.BigEndian.Uint32(mdcv[20:]))/10000
	}
	if len(clli) >= 4 {
		c.MaxCLL, c.MaxFALL = float64(binary.BigEndian.Uint16(clli)), float64(binary.BigEndian.Uint16(clli[2:]))
	}
	return c
}
