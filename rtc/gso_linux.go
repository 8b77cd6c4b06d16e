package rtc

import (
	"encoding/binary"
	"net/netip"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// message is struct mmsghdr.
type message struct {
	header unix.Msghdr
	n      uint32
	_      [4]byte
}

// segmentControl is the control message with UDP_SEGMENT.
type segmentControl struct {
	header unix.Cmsghdr
	size   uint16
	_      [6]byte
}

// batchSystem is what the kernel reads of a batch.
type batchSystem struct {
	messages [batchGroups]message
	vectors  [batchGroups]unix.Iovec
	controls [batchGroups]segmentControl
	names    [batchGroups]unix.RawSockaddrInet6
	first    int // not yet sent
	left     int
	errno    syscall.Errno
	write    func(fd uintptr) bool // b.system.sendmmsg, made once
}

// send sends groups with sendmmsg and UDP_SEGMENT, or one by one where the kernel or the device refuses that (Linux before 4.18, and devices without checksums).
func (s *socket) send(b *batch, groups []outgroup) {
	if !s.gso.Load() {
		s.sendEach(b, groups)
		return
	}
	k := &b.system
	for i := range groups {
		k.prepare(i, b, &groups[i])
	}
	if k.write == nil {
		k.write = k.sendmmsg
	}
	k.first, k.left = 0, len(groups)
	for k.left > 0 {
		k.errno = 0
		if err := s.raw.Write(k.write); err != nil {
			return // closed
		}
		switch g := groups[k.first:]; k.errno {
		case 0:
			continue
		case syscall.EIO, syscall.EINVAL, syscall.EOPNOTSUPP, syscall.ENOPROTOOPT:
			if g[0].count > 1 {
				s.gso.Store(false)
				s.sendEach(b, g)
				return
			}
		}
		k.first++ // the network does not take this one; it is lost
		k.left--
	}
}

// prepare fills in the kernel's view of a group.
func (k *batchSystem) prepare(i int, b *batch, g *outgroup) {
	m := &k.messages[i]
	*m = message{}
	m.header.Name = (*byte)(unsafe.Pointer(&k.names[i]))
	m.header.Namelen = putSockaddr(&k.names[i], g.to)
	k.vectors[i].Base = &b.bytes[g.at]
	k.vectors[i].SetLen(g.n)
	m.header.Iov = &k.vectors[i]
	m.header.SetIovlen(1)
	if g.count > 1 {
		c := &k.controls[i]
		c.header.Level, c.header.Type = unix.SOL_UDP, unix.UDP_SEGMENT
		c.header.SetLen(unix.CmsgLen(2))
		c.size = uint16(g.size)
		m.header.Control = (*byte)(unsafe.Pointer(c))
		m.header.SetControllen(unix.CmsgSpace(2))
	}
}

// sendmmsg is called with the socket's descriptor; false waits until it can be written to.
func (k *batchSystem) sendmmsg(fd uintptr) bool {
	n, _, errno := syscall.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&k.messages[k.first])), uintptr(k.left), unix.MSG_NOSIGNAL, 0, 0)
	switch errno {
	case syscall.EAGAIN:
		return false
	case syscall.EINTR:
		return true
	case 0:
		k.first += int(n)
		k.left -= int(n)
	default:
		k.errno = errno
	}
	return true
}

// putSockaddr writes an address as the kernel wants it and returns its length.
func putSockaddr(to *unix.RawSockaddrInet6, a netip.AddrPort) uint32 {
	if a.Addr().Is4() {
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(to))
		*v4 = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: a.Addr().As4()}
		binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&v4.Port))[:], a.Port())
		return unix.SizeofSockaddrInet4
	}
	*to = unix.RawSockaddrInet6{Family: unix.AF_INET6, Addr: a.Addr().As16()}
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&to.Port))[:], a.Port())
	return unix.SizeofSockaddrInet6
}

// getSockaddr reads an address as the kernel wrote it.
func getSockaddr(from *unix.RawSockaddrInet6) netip.AddrPort {
	port := binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&from.Port))[:])
	if from.Family == unix.AF_INET {
		return netip.AddrPortFrom(netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(from)).Addr), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom16(from.Addr).Unmap(), port)
}

// readBatch is how many packets are read with one call.
const readBatch = 32

// reader reads from a socket.
type reader struct {
	messages [readBatch]message
	vectors  [readBatch]unix.Iovec
	names    [readBatch]unix.RawSockaddrInet6
	packets  [readBatch]*packet
	n        int
	errno    syscall.Errno
}

// read hands out what comes, until the socket is closed.
func (s *socket) read() {
	r := new(reader)
	for i := range r.packets {
		r.renew(i)
	}
	recvmmsg := r.recvmmsg
	for {
		r.n, r.errno = 0, 0
		if err := s.raw.Read(recvmmsg); err != nil {
			return // closed
		}
		now := time.Now().UnixNano()
		for i := range r.n {
			p := r.packets[i]
			p.n, p.from = int(r.messages[i].n), getSockaddr(&r.names[i])
			whole := r.messages[i].header.Flags&unix.MSG_TRUNC == 0
			r.renew(i)
			if whole {
				s.take(p, now)
			} else {
				packetPool.Put(p)
			}
		}
	}
}

// renew gives a place in the reader a buffer.
func (r *reader) renew(i int) {
	p := packetPool.Get().(*packet)
	r.packets[i] = p
	r.vectors[i].Base = &p.data[0]
	r.vectors[i].SetLen(len(p.data))
	m := &r.messages[i]
	*m = message{}
	m.header.Name = (*byte)(unsafe.Pointer(&r.names[i]))
	m.header.Namelen = unix.SizeofSockaddrInet6
	m.header.Iov = &r.vectors[i]
	m.header.SetIovlen(1)
}

// recvmmsg is called with the socket's descriptor; false waits until something has come.
func (r *reader) recvmmsg(fd uintptr) bool {
	n, _, errno := syscall.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&r.messages)), readBatch, unix.MSG_DONTWAIT, 0, 0)
	switch errno {
	case syscall.EAGAIN:
		return false
	case 0:
		r.n = int(n)
	default:
		r.errno = errno // what an ICMP said of a packet that was sent; the socket goes on
	}
	return true
}
