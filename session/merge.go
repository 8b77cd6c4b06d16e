package session

import "slices"

// MergePatch applies a merge patch (RFC 7396) to a JSON document, or to none, and returns the new one; both are valid JSON. A client that keeps a document does so with each update that has a Patch.
func MergePatch(document, patch []byte) []byte {
	changes, err := ParseFields(nil, patch)
	if err != nil {
		return patch // no object: it replaces what was
	}
	fields, err := ParseFields(nil, document)
	if err != nil {
		fields = nil
	}
	for _, c := range changes {
		i := slices.IndexFunc(fields, func(f Field) bool { return f.Name == c.Name })
		switch {
		case c.Value == nil && i >= 0:
			fields = slices.Delete(fields, i, i+1)
		case c.Value == nil:
		case i >= 0:
			fields[i].Value = MergePatch(fields[i].Value, c.Value)
		default:
			fields = append(fields, Field{Name: c.Name, Value: MergePatch(nil, c.Value)})
		}
	}
	return AppendFields(nil, fields)
}
