//go:build linux

package main

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
)

// engine is a server made with one library.
type engine interface {
	// serve takes connections until the process ends, and answers each message with the same one; with the option silent it drops them.
	serve(ln net.Listener) error
	// count is how many connections cast reaches.
	count() int
	// cast sends one message to all that are connected, as a program does that does not know whether more will follow.
	cast(data []byte) error
}

// sender is an engine that writes with send, which the system does not count.
type sender interface {
	// sends is how often it has.
	sends() uint64
}

func sendsOf(e engine) uint64 {
	if s, ok := e.(sender); ok {
		return s.sends()
	}
	return 0
}

// options are what an engine is told.
type options struct {
	silent  bool
	deflate bool
	size    int // of the messages; only the bare loop needs it
}

// entry is an engine that may be chosen.
type entry struct {
	name    string
	module  string // whose version is shown
	about   string
	make    func(options) engine
	deflate bool // it can compress
	only    kind // the only kind of scenario that makes a difference to another entry; 0: all
}

// entries are all engines, the limit first.
var entries = []entry{
	{name: "bare", about: "a loop of epoll_wait, read and write, of the same bytes", make: newBare, deflate: true},
	{name: "hawser", module: "hawser", about: "Handle, Write; a broadcast is a ring that each connection follows (SetSource)", make: newHawser, deflate: true},
	{name: "hawser-queue", module: "hawser", about: "a broadcast is Prepare, then Queue on each connection", make: newHawserQueue, deflate: true, only: cast},
	{name: "gobwas", module: "github.com/gobwas/ws", about: "lowest level: ReadHeader, Cipher, WriteHeader; CompileFrame", make: newGobwas, deflate: true},
	{name: "gws", module: "github.com/lxzan/gws", about: "OnMessage, WriteMessage; Broadcaster", make: newGWS, deflate: true},
	{name: "gorilla", module: "github.com/gorilla/websocket", about: "ReadMessage, WriteMessage; PreparedMessage", make: newGorilla, deflate: true},
	{name: "coder", module: "github.com/coder/websocket", about: "Read, Write", make: newCoder, deflate: true},
	{name: "nbio", module: "github.com/lesismal/nbio", about: "OnMessage, WriteMessage", make: newNbio, deflate: true},
	{name: whepBareName, about: "WebRTC: a loop of sendmsg with UDP_SEGMENT, one for each picture and viewer, of as many bytes", make: newWHEPBare, only: whep},
	{name: "whep-hawser", module: "hawser", about: "WebRTC: rtc.Engine, peers that follow one list of groups", make: newWHEPHawser, only: whep},
	{name: "whep-pion", module: "github.com/pion/webrtc/v4", about: "WebRTC: PeerConnection with the default interceptors, TrackLocalStaticSample", make: newWHEPPion, only: whep},
}

func findEntry(name string) (entry, bool) {
	i := slices.IndexFunc(entries, func(e entry) bool { return e.name == name })
	if i < 0 {
		return entry{}, false
	}
	return entries[i], true
}

// serveMain is the command serve: one engine, led by commands on the standard input.
func serveMain(args []string) error {
	fs := flag.NewFlagSet("serve", flag.ContinueOnError)
	var o options
	name := fs.String("engine", "", "its name")
	fs.BoolVar(&o.silent, "silent", false, "drop what comes")
	fs.BoolVar(&o.deflate, "deflate", false, "compress")
	fs.IntVar(&o.size, "size", 0, "bytes of a message")
	if err := fs.Parse(args); err != nil {
		return err
	}
	found, ok := findEntry(*name)
	if !ok {
		return fmt.Errorf("there is no engine %q", *name)
	}
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	e := found.make(o)
	fmt.Printf("listening %s\n", ln.Addr())
	lead := &leader{e: e, data: payload(o.size)}
	if b, own := e.(*bare); own { // it has one thread only
		return b.run(ln, lead)
	}
	served := make(chan error, 1)
	go func() { served <- e.serve(ln) }()
	go func() { served <- lead.read(os.Stdin) }()
	return <-served
}

// leader carries out the commands of the load generator.
type leader struct {
	e       engine
	data    []byte
	profile *os.File
}

// read carries out commands until there are no more.
func (l *leader) read(r io.Reader) error {
	for lines := bufio.NewScanner(r); lines.Scan(); {
		if err := l.do(lines.Text()); err != nil {
			return err
		}
	}
	return nil
}

// do carries out one command and prints the answer, if it has one.
func (l *leader) do(line string) error {
	word, rest, _ := strings.Cut(line, " ")
	switch word {
	case "cast":
		n := 0
		if _, err := fmt.Sscan(rest, &n); err != nil {
			return fmt.Errorf("%q: %w", line, err)
		}
		return l.cast(n)
	case "count":
		fmt.Println(l.e.count())
		return nil
	case "stats":
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		fmt.Println(m.Mallocs, runtime.NumGoroutine(), m.StackInuse, m.HeapAlloc, sendsOf(l.e))
		return nil
	case "free":
		debug.FreeOSMemory()
	case "profile":
		f, err := os.Create(rest)
		if err != nil {
			return err
		}
		l.profile = f
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
	case "end-profile":
		pprof.StopCPUProfile()
		if err := l.profile.Close(); err != nil {
			return err
		}
	case "heap":
		if err := writeHeap(rest); err != nil {
			return err
		}
	default:
		return fmt.Errorf("there is no command %q", line)
	}
	fmt.Println("ok")
	return nil
}

func (l *leader) cast(n int) error {
	if b, ok := l.e.(*bare); ok {
		return b.burst(n)
	}
	for range n {
		if err := l.e.cast(l.data); err != nil {
			return fmt.Errorf("cast: %w", err)
		}
	}
	return nil
}

func writeHeap(name string) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	runtime.GC()
	return pprof.Lookup("heap").WriteTo(f, 0)
}

// members are the connections of an engine.
type members[C any] struct {
	mu   sync.Mutex
	list []C
}

func (m *members[C]) add(c C) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.list = append(m.list, c)
}

func (m *members[C]) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.list)
}

// each calls f for all.
func (m *members[C]) each(f func(C) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.list {
		if err := f(c); err != nil {
			return err
		}
	}
	return nil
}

// serveHTTP serves a handler that upgrades requests.
func serveHTTP(ln net.Listener, upgrade http.HandlerFunc) error {
	return (&http.Server{Handler: upgrade}).Serve(ln)
}

// failed says what went wrong with an upgrade; the load generator sees it too.
func failed(err error) bool {
	if err != nil {
		fmt.Fprintln(os.Stderr, "serve:", err)
	}
	return err != nil
}
