package store

import (
	"errors"
	"io"
	"os"
)

// FS is what a log needs of a file system, so that tests can make it fail.
type FS interface {
	// Create makes an empty file, or empties the one that is there, for reading and writing.
	Create(name string) (File, error)
	// Open opens a file for reading.
	Open(name string) (File, error)
	// Names lists a folder.
	Names(dir string) ([]string, error)
	// Rename and Remove are those of package os.
	Rename(from, to string) error
	Remove(name string) error
	// SyncDir makes what was made and renamed in a folder last.
	SyncDir(dir string) error
	// Check says why a name is not that of an open file any more; nil when it is.
	Check(name string, f File) error
}

// File is an open file. *os.File is one.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Stat() (os.FileInfo, error)
	Sync() error
	Truncate(size int64) error
}

// System is the file system of the machine.
type System struct{}

// fileMode is for the owner alone: what is stored is what users publish.
const fileMode = 0o600

// Create implements FS.
func (System) Create(name string) (File, error) {
	return noNil(os.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_RDWR, fileMode))
}

// Open implements FS.
func (System) Open(name string) (File, error) { return noNil(os.Open(name)) }

// noNil keeps a nil *os.File from becoming a File that is not nil.
func noNil(f *os.File, err error) (File, error) {
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Names implements FS.
func (System) Names(dir string) ([]string, error) {
	list, err := os.ReadDir(dir)
	names := make([]string, len(list))
	for i, e := range list {
		names[i] = e.Name()
	}
	return names, err
}

// Rename implements FS.
func (System) Rename(from, to string) error { return os.Rename(from, to) }

// Remove implements FS.
func (System) Remove(name string) error { return os.Remove(name) }

// SyncDir implements FS.
func (System) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Check implements FS.
func (System) Check(name string, f File) error {
	there, err := os.Stat(name)
	if err != nil {
		return err
	}
	own, err := f.Stat()
	if err != nil {
		return err
	}
	if !os.SameFile(there, own) {
		return errors.New(name + " is another file now")
	}
	return nil
}
