//go:build !unix

package store

import "os"

// lockFile does nothing here: two servers on one folder are not kept apart.
func lockFile(*os.File) error { return nil }
