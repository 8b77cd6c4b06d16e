package lab

import (
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// Line is a bad line between two hosts: two TUN devices, and a relay in this process that passes their packets on, later and not all of them.
type Line struct {
	// Delay is that of each packet, one way.
	Delay time.Duration
	// Loss is the part of the packets that are lost, each way and one by one: 0.05 is 5 %.
	Loss float64
	// Seed makes the losses the same each time, as far as the packets are.
	Seed uint64
}

// lineQueue bounds the packets under way, each way.
const lineQueue = 8192

type line struct {
	ends [2]*os.File
	wait sync.WaitGroup
}

// underway is a packet on its way.
type underway struct {
	due  time.Time
	data []byte
}

// between lays the line.
func (o *Line) between(a, b *Host) (*line, error) {
	l := &line{}
	for i, h := range []*Host{a, b} {
		name := fmt.Sprintf("lab%d.%d", os.Getpid(), 2*networks.Load()+int64(i)) // its name until it is on the host
		f, err := tun(name)
		if err != nil {
			l.close()
			return nil, err
		}
		l.ends[i] = f
		err = shell(
			fmt.Sprintf("ip link set %s netns %s name net0", name, h.name),
			fmt.Sprintf("ip -n %s addr add %s dev net0", h.name, h.net(h.Addr)),
			fmt.Sprintf("ip -n %s link set net0 up txqueuelen %d", h.name, lineQueue),
			fmt.Sprintf("ip -n %s route add default dev net0", h.name))
		if err != nil {
			l.close()
			return nil, err
		}
	}
	for i := range l.ends {
		dice := rand.New(rand.NewPCG(o.Seed, uint64(i)))
		queue := make(chan underway, lineQueue)
		l.wait.Go(func() { l.take(i, o, dice, queue) })
		l.wait.Go(func() { l.give(1-i, queue) })
	}
	return l, nil
}

// take reads what a host sends, and loses some of it.
func (l *line) take(end int, o *Line, dice *rand.Rand, queue chan<- underway) {
	defer close(queue)
	b := make([]byte, 1<<16)
	for {
		n, err := l.ends[end].Read(b)
		if err != nil {
			return
		}
		if dice.Float64() < o.Loss {
			continue
		}
		select {
		case queue <- underway{time.Now().Add(o.Delay), append([]byte(nil), b[:n]...)}:
		default: // the line is full
		}
	}
}

// give hands packets to a host when they are due.
func (l *line) give(end int, queue <-chan underway) {
	for p := range queue {
		time.Sleep(time.Until(p.due))
		l.ends[end].Write(p.data) // one that the host does not take is lost
	}
}

func (l *line) close() {
	for _, f := range l.ends {
		if f != nil {
			f.Close()
		}
	}
	l.wait.Wait()
}

// tun makes a device whose packets are read from and written to the file, and which is gone when the file is closed.
func tun(name string) (*os.File, error) {
	fd, err := syscall.Open("/dev/net/tun", syscall.O_RDWR|syscall.O_CLOEXEC|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("lab: /dev/net/tun: %w", err)
	}
	const (
		setInterface = 0x400454ca // TUNSETIFF
		packets      = 0x1001     // IFF_TUN, IFF_NO_PI
	)
	var request struct {
		name  [16]byte
		flags uint16
		_     [22]byte
	}
	copy(request.name[:15], name)
	request.flags = packets
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), setInterface, uintptr(unsafe.Pointer(&request))); errno != 0 {
		syscall.Close(fd)
		return nil, fmt.Errorf("lab: device %s: %w", name, errno)
	}
	return os.NewFile(uintptr(fd), name), nil
}
