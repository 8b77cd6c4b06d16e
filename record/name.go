package record

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	// nameTime is {time}, so that names sort by it.
	nameTime = "20060102T150405Z"
	// maxPart bounds one part of a name, between slashes, in bytes; file systems take 255 and we may add a number.
	maxPart = 180
	// maxName bounds a whole name, in bytes.
	maxName = 1024
	// maxSame bounds the number that a name gets because others have it.
	maxSame = 10_000
)

// checkTemplate says what is wrong with a template for names.
func checkTemplate(t string) error {
	dir, file := path.Split(t)
	rest := strings.NewReplacer("{path}", "p", "{time}", "t", "{ext}", "e").Replace(t)
	switch {
	case strings.ContainsAny(rest, "{}\\\x00"):
		return fmt.Errorf("record: name %q: want no other braces than {path}, {time} and {ext}, and no backslash", t)
	case !strings.Contains(t, "{path}"):
		return fmt.Errorf("record: name %q: want {path} in it", t)
	case strings.Contains(dir, "{time}") || strings.Contains(dir, "{ext}"):
		return fmt.Errorf("record: name %q: want {time} and {ext} behind the last slash", t)
	case !strings.HasSuffix(file, ".{ext}") || strings.Count(file, "{ext}") != 1 || strings.Count(file, "{time}") > 1:
		return fmt.Errorf("record: name %q: want .{ext} at the end, and {time} at most once", t)
	case path.Clean("/"+rest) != "/"+rest:
		return fmt.Errorf(`record: name %q: want no "..", "." and empty parts`, t)
	}
	return nil
}

// cleanPath makes a stream's path part of a file's name that cannot leave the folder, hide or collide: bytes with a meaning to some file system are
// escaped as in URLs, and parts that are too long end in a hash instead. Different paths stay different.
func cleanPath(p string) (string, error) {
	var parts []string
	rest, ok := strings.CutPrefix(p, "/")
	for part := range strings.SplitSeq(rest, "/") {
		if part == "" || !ok {
			return "", fmt.Errorf("record: path %q: want parts that each begin with a slash", p)
		}
		parts = append(parts, cleanPart(part))
	}
	name := strings.Join(parts, "/")
	if len(name) > maxName {
		return "", fmt.Errorf("record: path of %d bytes: its name is longer than %d", len(p), maxName)
	}
	return name, nil
}

func cleanPart(part string) string {
	const special = `%~\:*?"<>|{}`
	var b strings.Builder
	for i, r := range part {
		size := 1
		if r >= utf8.RuneSelf || r == utf8.RuneError {
			_, size = utf8.DecodeRuneInString(part[i:])
		}
		edge := r == '.' && (i == 0 || i == len(part)-1) || r == ' ' && i == len(part)-1
		if bad := r < ' ' || r == 0x7f || r == utf8.RuneError && size == 1 || edge || strings.ContainsRune(special, r); bad {
			fmt.Fprintf(&b, "%%%02X", part[i])
			continue
		}
		b.WriteString(part[i : i+size])
	}
	if b.Len() <= maxPart {
		return b.String()
	}
	sum := sha256.Sum256([]byte(part))
	head := b.String()[:maxPart-40]
	for !utf8.ValidString(head) {
		head = head[:len(head)-1]
	}
	return head + "~" + hex.EncodeToString(sum[:16])
}

// naming is the names of one stream's files in one format.
type naming struct {
	dir     string // of all of them, in the folder
	pattern *regexp.Regexp
	file    string // the template of the last part, {time} open
	ext     string
}

// naming gives the names of a stream's files.
func (o *Options) naming(p string, f Format) (naming, error) {
	clean, err := cleanPath(p)
	if err != nil {
		return naming{}, err
	}
	dir, file := path.Split(strings.ReplaceAll(strings.TrimSuffix(o.Name, ".{ext}"), "{path}", clean))
	n := naming{dir: path.Clean(dir), file: file, ext: "." + extensions[f]}
	expr := strings.ReplaceAll(regexp.QuoteMeta(file), regexp.QuoteMeta("{time}"), `(\d{8}T\d{6}Z)`)
	n.pattern, err = regexp.Compile(`^` + expr + `(?:~([1-9]\d{0,5}))?` + regexp.QuoteMeta(n.ext) + `$`)
	return n, err
}

// name gives the name of a file begun at a time; same counts the files that have the name already.
func (n *naming) name(at time.Time, same int) string {
	file := strings.ReplaceAll(n.file, "{time}", at.UTC().Format(nameTime))
	if same > 0 {
		file += "~" + strconv.Itoa(same+1) // which no cleaned path has
	}
	return path.Join(n.dir, file+n.ext)
}

// order says where a file stands among those of its stream; ok is false for files of others.
func (n *naming) order(file string) (at string, same int, ok bool) {
	m := n.pattern.FindStringSubmatch(file)
	if m == nil {
		return "", 0, false
	}
	same, _ = strconv.Atoi(m[len(m)-1])
	if len(m) == 3 {
		at = m[1]
	}
	return at, same, true
}
