package record

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"hawser/lifecycle"
)

// File is a recorded file as it stands at one moment.
type File struct {
	Name      string    `json:"name"`  // in the folder, with slashes
	Bytes     int64     `json:"bytes"` // that are whole
	Modified  time.Time `json:"modified"`
	Recording bool      `json:"recording"` // it is still being written
}

// Folder is the folder of the recordings. Nothing outside of it can be reached through it, whatever links it holds. All methods may run at once.
type Folder struct {
	opts Options

	mu      sync.Mutex
	active  map[string]int64  // the files that are written, and their whole bytes
	indexes map[string]*index // by name; see Folder.index
	clock   uint64            // counts their uses
}

func newFolder(o Options) *Folder {
	return &Folder{opts: o, active: map[string]int64{}, indexes: map[string]*index{}}
}

// root opens the folder: anew each time, for it may be another disk by now.
func (d *Folder) root() (*os.Root, error) {
	if d.opts.Dir == "" {
		return nil, lifecycle.ReasonNotFound.With("there is no folder for recordings")
	}
	root, err := os.OpenRoot(d.opts.Dir)
	if err != nil {
		return nil, reasonOf(err)
	}
	return root, nil
}

// Open opens a recorded file for reading; the caller closes it. A name that is none of a recording is lifecycle.ReasonNotFound, as is a file that is not there.
func (d *Folder) Open(name string) (*os.File, error) {
	missing := lifecycle.ReasonNotFound.With("there is no recording %q", name)
	if !fs.ValidPath(name) || !isRecording(name) {
		return nil, missing
	}
	root, err := d.root()
	if err != nil {
		return nil, missing
	}
	defer root.Close()
	if info, err := root.Stat(name); err != nil || !info.Mode().IsRegular() {
		return nil, missing // and no waiting for the other end of a pipe
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, missing
	}
	return f, nil
}

// Find returns the name of the file that a path means: the file of that name, with or without its ending, or else the newest file of the stream of that path. An
// FLV file is preferred. Without one the error is lifecycle.ReasonNotFound.
func (d *Folder) Find(p string) (string, error) {
	name := strings.Trim(p, "/")
	if fs.ValidPath(name) {
		for _, full := range []string{name, name + "." + extensions[FLV], name + "." + extensions[FMP4]} {
			if f, err := d.Open(full); err == nil {
				f.Close()
				return full, nil
			}
		}
	}
	for f := range extensions {
		if name, err := d.newest(p, Format(f)); err == nil {
			return name, nil
		}
	}
	return "", lifecycle.ReasonNotFound.With("nothing is recorded of %q", p)
}

// isRecording says that a name has the ending of a format.
func isRecording(name string) bool {
	ext := strings.TrimPrefix(path.Ext(name), ".")
	return slices.Contains(extensions[:], ext)
}

// newest returns the name of a stream's newest file.
func (d *Folder) newest(p string, f Format) (string, error) {
	n, err := d.opts.naming(p, f)
	if err != nil {
		return "", err
	}
	root, err := d.root()
	if err != nil {
		return "", err
	}
	defer root.Close()
	entries, err := fs.ReadDir(root.FS(), n.dir)
	if err != nil {
		return "", err
	}
	best, bestAt, bestSame := "", "", -1
	for _, e := range entries[:min(len(entries), d.opts.MaxFiles)] {
		at, same, ok := n.order(e.Name())
		if ok && e.Type().IsRegular() && cmp.Or(cmp.Compare(at, bestAt), cmp.Compare(same, bestSame)) > 0 {
			best, bestAt, bestSame = e.Name(), at, same
		}
	}
	if best == "" {
		return "", fs.ErrNotExist
	}
	return path.Join(n.dir, best), nil
}

// create makes a new file of a stream.
func (d *Folder) create(n naming) (f *os.File, name string, err error) {
	root, err := d.root()
	if err != nil {
		return nil, "", err
	}
	defer root.Close()
	if err := root.MkdirAll(n.dir, 0o755); err != nil {
		return nil, "", err
	}
	now := d.opts.Now()
	for same := range maxSame {
		name = n.name(now, same)
		f, err = root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o644)
		if !errors.Is(err, fs.ErrExist) {
			return f, name, err
		}
	}
	return nil, "", fmt.Errorf("record: %q: %d files have the name already: %w", name, maxSame, err)
}

// reopen opens a stream's newest file to go on with it.
func (d *Folder) reopen(p string, f Format) (*os.File, string, error) {
	name, err := d.newest(p, f)
	if err != nil {
		return nil, "", err
	}
	root, err := d.root()
	if err != nil {
		return nil, "", err
	}
	defer root.Close()
	file, err := root.OpenFile(name, os.O_RDWR, 0)
	return file, name, err
}

// wrote notes how much of a file is written; done, that it is complete.
func (d *Folder) wrote(name string, size int64, done bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if done {
		delete(d.active, name)
		return
	}
	d.active[name] = size
}

// Whole returns how many bytes of a file that is still written are whole; ok is false for a file that is complete.
func (d *Folder) Whole(name string) (size int64, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	size, ok = d.active[name]
	return size, ok
}

// List returns the files by name, at most limit, beginning behind the name after; more says that there are others. A stream's path restricts it to the files of that stream;
// "" is all. What cannot be read is left out.
func (d *Folder) List(p, after string, limit int) (files []File, more bool, err error) {
	root, err := d.root()
	if err != nil {
		return nil, false, err
	}
	defer root.Close()
	wanted := func(string) bool { return true }
	dir := "."
	if p != "" {
		if dir, wanted, err = d.filter(p); err != nil {
			return nil, false, err
		}
	}
	if limit <= 0 {
		limit = math.MaxInt
	}
	seen := 0
	err = fs.WalkDir(root.FS(), dir, func(name string, e fs.DirEntry, err error) error {
		if seen++; seen > d.opts.MaxFiles {
			more = true
			return fs.SkipAll
		}
		if err != nil || !e.Type().IsRegular() || !isRecording(name) || !wanted(name) || compareNames(name, after) <= 0 {
			return nil
		}
		if len(files) == limit {
			more = true
			return fs.SkipAll
		}
		if info, err := e.Info(); err == nil {
			files = append(files, File{Name: name, Bytes: info.Size(), Modified: info.ModTime()})
		}
		return nil
	})
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range files {
		if whole, writing := d.active[files[i].Name]; writing {
			files[i].Recording, files[i].Bytes = true, whole
		}
	}
	return files, more, err
}

// filter says where the files of a stream are and which they are.
func (d *Folder) filter(p string) (dir string, wanted func(name string) bool, err error) {
	var all []naming
	for f := range extensions {
		n, err := d.opts.naming(p, Format(f))
		if err != nil {
			return "", nil, lifecycle.ReasonBadRequest.Because(err)
		}
		all = append(all, n)
	}
	return all[0].dir, func(name string) bool {
		return slices.ContainsFunc(all, func(n naming) bool {
			_, _, ok := n.order(path.Base(name))
			return ok && path.Dir(name) == n.dir
		})
	}, nil
}

// compareNames compares in the order of fs.WalkDir: part by part.
func compareNames(a, b string) int {
	return slices.Compare(strings.Split(a, "/"), strings.Split(b, "/"))
}

// isFull says that a disk, a quota or a limit on files is full.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}
