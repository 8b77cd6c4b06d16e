package rtmp

import (
	"maps"
	"slices"

	"hawser/amf"
)

// CodecUse is what an end can do with a codec, flags to be combined (FourCcInfoMask).
type CodecUse uint8

// The flags of CodecUse.
const (
	CanDecode  CodecUse = 1
	CanEncode  CodecUse = 2
	CanForward CodecUse = 4
)

// Extensions are the parts of Enhanced RTMP that an end understands, flags to be combined (CapsExMask).
type Extensions uint8

// The flags of Extensions.
const (
	ExtReconnect  Extensions = 1 // Conn.RequestReconnect
	ExtMultitrack Extensions = 2
	ExtModEx      Extensions = 4
	ExtNanoOffset Extensions = 8 // timestamps in nanoseconds, by ModEx
)

// Capabilities is what one end tells the other in connect and its answer (Enhanced RTMP v2, "Enhancing NetConnection connect
// Command"). The zero value says nothing, as ends do that know plain RTMP only.
type Capabilities struct {
	// FourCC are the codecs understood, in the older form (fourCcList): "hvc1", "Opus" and so on; "*" is any.
	FourCC []string
	// Video and Audio are what can be done with each codec (videoFourCcInfoMap, audioFourCcInfoMap); "*" counts for all.
	Video, Audio map[string]CodecUse
	// Extensions are capsEx.
	Extensions Extensions
}

// maxCodecs is how many codecs of each list of a peer are kept.
const maxCodecs = 64

// DefaultCapabilities are those of an end that passes on whatever it gets, and what Server and Client say unless told otherwise.
func DefaultCapabilities() *Capabilities {
	return &Capabilities{FourCC: []string{"*"}, Video: map[string]CodecUse{"*": CanForward}, Audio: map[string]CodecUse{"*": CanForward},
		Extensions: ExtReconnect | ExtMultitrack | ExtModEx | ExtNanoOffset}
}

// Use returns what the end can do with a codec. A codec that is only in FourCC can be decoded.
func (c Capabilities) Use(fourCC string) CodecUse {
	use := c.Video[fourCC] | c.Video["*"] | c.Audio[fourCC] | c.Audio["*"]
	if slices.Contains(c.FourCC, fourCC) || slices.Contains(c.FourCC, "*") {
		use |= CanDecode
	}
	return use
}

// members returns the members of a command object that say it.
func (c *Capabilities) members() (o amf.Object) {
	if len(c.FourCC) > 0 {
		list := make(amf.StrictArray, len(c.FourCC))
		for i, name := range c.FourCC {
			list[i] = name
		}
		o = append(o, amf.Member{Name: "fourCcList", Value: list})
	}
	add := func(name string, uses map[string]CodecUse) {
		if len(uses) == 0 {
			return
		}
		var codecs amf.Object
		for _, codec := range slices.Sorted(maps.Keys(uses)) {
			codecs = append(codecs, amf.Member{Name: codec, Value: float64(uses[codec])})
		}
		o = append(o, amf.Member{Name: name, Value: codecs})
	}
	add("videoFourCcInfoMap", c.Video)
	add("audioFourCcInfoMap", c.Audio)
	if c.Extensions != 0 {
		o = append(o, amf.Member{Name: "capsEx", Value: float64(c.Extensions)})
	}
	return o
}

// capabilitiesIn reads what a peer says in the objects given; later ones add to earlier ones.
func capabilitiesIn(objects ...amf.Object) (c Capabilities) {
	for _, o := range objects {
		list, _ := o.Get("fourCcList").(amf.StrictArray)
		if indexed, ok := o.Get("fourCcList").(amf.ECMAArray); ok {
			for _, m := range indexed {
				list = append(list, m.Value)
			}
		}
		for _, v := range list {
			if name, ok := v.(string); ok && len(c.FourCC) < maxCodecs && !slices.Contains(c.FourCC, name) {
				c.FourCC = append(c.FourCC, name)
			}
		}
		c.Video = usesIn(c.Video, amf.Members(o.Get("videoFourCcInfoMap")))
		c.Audio = usesIn(c.Audio, amf.Members(o.Get("audioFourCcInfoMap")))
		c.Extensions |= Extensions(flags(o.Get("capsEx")))
	}
	return c
}

func usesIn(uses map[string]CodecUse, codecs amf.Object) map[string]CodecUse {
	for _, m := range codecs {
		if uses == nil {
			uses = make(map[string]CodecUse)
		}
		if _, known := uses[m.Name]; known || len(uses) < maxCodecs {
			uses[m.Name] |= CodecUse(flags(m.Value))
		}
	}
	return uses
}

// flags reads a number as flags; those beyond the first eight are not known.
func flags(v amf.Value) uint8 {
	n, _ := v.(float64)
	if !(n >= 0 && n < 1<<32) {
		return 0
	}
	return uint8(uint32(n))
}
