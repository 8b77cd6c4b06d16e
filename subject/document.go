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

// maxFolded is how many patches are folded into one at most: beyond that the whole document is the better answer.
const maxFolded = 64

// PatchSince returns one merge patch for all that has changed in a document in the update at offset and later ones, and the offset of the next update. Applied to the document as it was before the update
// at offset it gives the present one. ok is false when the whole must be told instead: because it was replaced, because the updates are not held any more, because no patch can say it, or because the whole is
// not longer.
func (s *Subject) PatchSince(offset uint64) (patch []byte, now uint64, ok bool) {
	s.mu.Lock()
	now, whole := s.next, len(s.doc.now())
	s.mu.Unlock()
	if offset >= now || now-offset > maxFolded {
		return nil, now, false
	}
	for at := offset; at < now; at++ {
		item, held := s.ring.At(at)
		if !held || item.Value.Patch == nil {
			return nil, now, false
		}
		if at == offset {
			patch, ok = item.Value.Patch, true
		} else {
			patch, ok = foldPatches(patch, item.Value.Patch)
		}
		if !ok || len(patch) >= whole {
			return nil, now, false
		}
	}
	return patch, now, true
}

// foldPatches makes one merge patch of two that follow each other. None can be made where the first replaces or removes a member, whatever it was, and the second patches it: a patch merges an object into
// one that is there, and cannot say that it takes its place.
func foldPatches(first, second []byte) (both []byte, ok bool) {
	changes, err := ParseFields(first)
	if err != nil {
		return nil, false
	}
	more, err := ParseFields(second)
	if err != nil {
		return nil, false
	}
	var fields []Field
	for _, c := range append(changes, more...) { // the first by themselves too: a name may stand there twice
		i := slices.IndexFunc(fields, func(f Field) bool { return f.Name == c.Name })
		switch {
		case i < 0:
			fields = append(fields, c)
		case !isObject(c.Value):
			fields[i].Value = c.Value
		case !isObject(fields[i].Value):
			return nil, false
		default:
			if fields[i].Value, ok = foldPatches(fields[i].Value, c.Value); !ok {
				return nil, false
			}
		}
	}
	return appendObject(nil, fields), true
}

func isObject(value []byte) bool {
	value = bytes.TrimSpace(value)
	return len(value) > 0 && value[0] == '{'
}
