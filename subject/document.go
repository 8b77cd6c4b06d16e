package subject

import (
	"bytes"
	"encoding/json"
	"slices"

	"hawser/lifecycle"
)

// document is the present state of a JSON subject: the whole as it was last made, and the patches that came since, which are worked in when somebody asks or when they outgrow it.
// The subject's lock guards it.
type document struct {
	whole   []byte
	patches [][]byte
	waiting int // bytes of patches
}

// check says why an update, the whole document or a merge patch, cannot be within the limit of bytes; zero when it can.
func (d *document) check(u *Update, most int64) lifecycle.Reason {
	if u.Patch == nil {
		if int64(len(u.Data)) > most {
			return lifecycle.Reached("MaxImage", most).With("a document of %d bytes, at most %d are allowed", len(u.Data), most)
		}
		return lifecycle.Reason{}
	}
	if int64(len(d.whole)+d.waiting+len(u.Patch)) > most {
		d.now()
		if size := len(d.whole) + len(u.Patch); int64(size) > most {
			return lifecycle.Reached("MaxImage", most).With("a document of up to %d bytes, at most %d are allowed", size, most)
		}
	}
	return lifecycle.Reason{}
}

// fold takes an update that was checked.
func (d *document) fold(u *Update) {
	if u.Patch == nil {
		d.whole, d.patches, d.waiting = u.Data, nil, 0
		return
	}
	if d.waiting > len(d.whole)+smallMessage {
		d.now()
	}
	d.patches = append(d.patches, u.Patch)
	d.waiting += len(u.Patch)
}

// now is the present document. It is not changed afterwards.
func (d *document) now() []byte {
	for _, p := range d.patches {
		d.whole = merge(d.whole, p)
	}
	d.patches, d.waiting = nil, 0
	return d.whole
}

// merge applies a merge patch (RFC 7396 section 2) to a JSON value, or to nothing.
func merge(target, patch []byte) []byte {
	changes, err := ParseFields(patch)
	if err != nil {
		return patch // no object: it replaces what was
	}
	fields, _ := ParseFields(target)
	for _, c := range changes {
		i := slices.IndexFunc(fields, func(f Field) bool { return f.Name == c.Name })
		switch {
		case c.removed() && i >= 0:
			fields = slices.Delete(fields, i, i+1)
		case c.removed():
		case i >= 0:
			fields[i].Value = merge(fields[i].Value, c.Value)
		default:
			fields = append(fields, Field{Name: c.Name, Value: merge(nil, c.Value)})
		}
	}
	return appendObject(nil, fields)
}

func appendObject(dst []byte, fields []Field) []byte {
	dst = append(dst, '{')
	for i, f := range fields {
		if i > 0 {
			dst = append(dst, ',')
		}
		name, _ := json.Marshal(f.Name) // a string always can
		dst = append(append(dst, name...), ':')
		if f.Value == nil {
			dst = append(dst, "null"...)
		} else {
			dst = append(dst, bytes.TrimSpace(f.Value)...)
		}
	}
	return append(dst, '}')
}
