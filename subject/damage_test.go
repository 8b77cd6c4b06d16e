package subject

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"hawser/lifecycle"
	"hawser/ring"
	"hawser/store"
)

// childDir is the variable that makes the test binary a program that publishes into a folder until it is killed.
const childDir = "HAWSER_SUBJECT_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		publishForEver(dir, os.Stdout)
	}
	os.Exit(m.Run())
}

// smallStore makes snapshots all the time, which are small as the history is short.
var (
	smallStore   = store.Options{SnapshotBytes: 1 << 10}
	shortHistory = Options{Limits: ring.Limits{Count: 20}}
)

// publishForEver says where each message stands once it is acknowledged.
func publishForEver(dir string, w io.Writer) {
	h := NewHub(shortHistory)
	if err := h.Persist(Durable{Dir: dir, Match: everything, Store: smallStore}); err != nil {
		panic(err)
	}
	for i := 0; ; i++ {
		path := fmt.Sprint("/log/", i%3)
		_, offset, err := h.Publish(path, Log, Update{Data: fmt.Appendf(nil, `"%s %d"`, path, i)})
		if err != nil {
			panic(err)
		}
		fmt.Fprintf(w, "%s %d %q\n", path, offset, fmt.Sprintf(`"%s %d"`, path, i))
	}
}

// A process that is killed while it makes a snapshot loses nothing that it has acknowledged, and the next one goes on in its folder.
func TestKilledInSnapshot(t *testing.T) {
	dir := t.TempDir()
	acked := make(map[string]map[uint64]string)
	making := func() bool { left, _ := filepath.Glob(dir + "/*.tmp"); return len(left) > 0 }
	for round, during := 0, 0; during < 3; round++ {
		if round == 50 {
			t.Fatalf("only %d of %d kills came while a snapshot was made", during, round)
		}
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childDir+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines, kill := bufio.NewScanner(out), 5+rand.IntN(50)
		for n := 0; lines.Scan(); n++ {
			if n == kill {
				go func() {
					for !making() {
					}
					cmd.Process.Kill()
				}()
			}
			var path, data string
			var offset uint64
			if _, err := fmt.Sscanf(lines.Text(), "%s %d %q", &path, &offset, &data); err != nil {
				continue // the last line was cut
			}
			if acked[path] == nil {
				acked[path] = make(map[uint64]string)
			}
			acked[path][offset] = data
		}
		cmd.Wait()
		if making() {
			during++
		}
		h := persist(t, shortHistory, Durable{Dir: dir})
		for path, messages := range acked {
			updates := h.Find(path).Ring()
			tail, _ := updates.Bounds()
			for offset, want := range messages {
				if item, held := updates.At(offset); offset >= tail && (!held || string(item.Value.Data) != want) {
					t.Fatalf("round %d: %s at %d: got %q, want %q", round, path, offset, item.Value.Data, want)
				}
			}
		}
		closeStore(t, h)
		if making() {
			t.Error("what was begun of a snapshot is left")
		}
	}
}

// damage flips a bit in each message of a folder's segments that holds one of some words.
func damage(t *testing.T, dir string, words ...string) {
	t.Helper()
	names, _ := filepath.Glob(dir + "/*.log")
	for _, word := range words {
		found := false
		for _, name := range names {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if i := bytes.Index(b, []byte(word)); i >= 0 {
				found = true
				b[i] ^= 1
				if err := os.WriteFile(name, b, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
		if !found {
			t.Fatalf("%q is in none of %q", word, names)
		}
	}
}

// What a log has before damaged messages is there again, each in its place, and what is lost is told by its offsets: after the restart, and after the next snapshot too.
func TestDamagedHistory(t *testing.T) {
	d := Durable{Dir: t.TempDir()}
	h := persist(t, Options{}, d)
	for i := range 8 {
		mustPublish(t, h, "/log", fmt.Sprintf(`"message %d"`, i))
	}
	closeStore(t, h)
	damage(t, d.Dir, "message 2", "message 4", "message 5")
	for _, from := range []string{"segments", "a snapshot"} {
		log := lifecycle.NewLog(ring.Limits{})
		h := persist(t, Options{Log: log}, d)
		var got []string
		updates := h.Find("/log").Ring()
		tail, head := updates.Bounds()
		for at := tail; at < head; at++ {
			item, _ := updates.At(at)
			if next, lost := item.Value.Lost(); lost {
				got = append(got, fmt.Sprintf("%d lost to %d", at, next))
			} else {
				got = append(got, fmt.Sprint(at, string(item.Value.Data)))
			}
		}
		want := []string{`0"message 0"`, `1"message 1"`, "2 lost to 3", `3"message 3"`, "4 lost to 6", "5 lost to 6", `6"message 6"`, `7"message 7"`}
		if !slices.Equal(got, want) {
			t.Errorf("from %s: got %q, want %q", from, got, want)
		}
		var told []string
		for _, ev := range log.Recent(100) {
			if ev.Kind == EventDamaged {
				told = append(told, ev.Path+" "+ev.Detail)
			}
		}
		if want := []string{"/log the offsets 2 to 2 are lost", "/log the offsets 4 to 5 are lost"}; !slices.Equal(told, want) {
			t.Errorf("from %s: told %q, want %q", from, told, want)
		}
		h.journal.snapshot()
		closeStore(t, h)
	}
}
