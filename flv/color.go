package flv

import (
	"hawser/amf"
	"hawser/media"
)

// parseColor reads Enhanced RTMP's colorInfo.
func parseColor(o amf.Object) (c media.Color) {
	config, light, display := amf.Members(o.Get("colorConfig")), amf.Members(o.Get("hdrCll")), amf.Members(o.Get("hdrMdcv"))
	small := func(name string) uint8 {
		if v := config.Number(name); v >= 0 && v <= 255 {
			return uint8(v)
		}
		return 0
	}
	c = media.Color{BitDepth: small("bitDepth"), Primaries: small("colorPrimaries"), Transfer: small("transferCharacteristics"), Matrix: small("matrixCoefficients")}
	fields := colorNumbers(&c)
	for i, name := range colorNames {
		from := display
		if i < lightNames {
			from = light
		}
		if v := from.Number(name); v > 0 && v <= maxColorNumber {
			*fields[i] = v
		}
	}
	return c
}

// maxColorNumber bounds the numbers of colorInfo, in cd/m².
const maxColorNumber = 10_000

// colorNames are the members of hdrCll, the first lightNames of them, and of hdrMdcv.
var colorNames = [...]string{"maxFall", "maxCLL", "redX", "redY", "greenX", "greenY", "blueX", "blueY", "whitePointX", "whitePointY", "maxLuminance", "minLuminance"}

const lightNames = 2

// colorNumbers gives the fields that colorNames names.
func colorNumbers(c *media.Color) [len(colorNames)]*float64 {
	return [...]*float64{&c.MaxFALL, &c.MaxCLL, &c.RedX, &c.RedY, &c.GreenX, &c.GreenY, &c.BlueX, &c.BlueY, &c.WhiteX, &c.WhiteY, &c.MaxLuminance, &c.MinLuminance}
}

// AppendColor appends the body of the metadata frame that says the track's colour (Enhanced RTMP v2, "Metadata Frame"), and gives its type. It appends nothing and
// gives type 0 where there is nothing to say: most tracks have it in their codec's parameters. Nor does it for a track without a FourCC, whose players would take it for a frame.
func AppendColor(dst []byte, t media.Track) (typ byte, body []byte) {
	if t.Color == (media.Color{}) || t.Kind != media.Video || FourCC(t) == "" {
		return 0, dst
	}
	c := t.Color
	number := func(o amf.Object, name string, v float64) amf.Object {
		if v == 0 {
			return o
		}
		return append(o, amf.Member{Name: name, Value: v})
	}
	config := number(nil, "bitDepth", float64(c.BitDepth))
	config = number(config, "colorPrimaries", float64(c.Primaries))
	config = number(config, "transferCharacteristics", float64(c.Transfer))
	config = number(config, "matrixCoefficients", float64(c.Matrix))
	var light, display amf.Object
	for i, v := range colorNumbers(&c) {
		if i < lightNames {
			light = number(light, colorNames[i], *v)
		} else {
			display = number(display, colorNames[i], *v)
		}
	}
	var info amf.Object
	for _, m := range []amf.Member{{Name: "colorConfig", Value: config}, {Name: "hdrCll", Value: light}, {Name: "hdrMdcv", Value: display}} {
		if len(m.Value.(amf.Object)) > 0 {
			info = append(info, m)
		}
	}
	dst = appendExtendedHeader(dst, t, 0x80|frameKey<<4, packetMetadata, 0)
	return TypeVideo, amf.Append(dst, "colorInfo", info)
}
