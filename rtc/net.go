package rtc

import (
	"fmt"
	"sync"
	"time"

	"github.com/pion/transport/v4"
	"github.com/pion/transport/v4/stdnet"
)

// interfaceAge is how old the list of interfaces may be when addresses are gathered.
const interfaceAge = time.Second

// network is the machine's network with a list of interfaces that can be read again: the stack keeps the one that it has read first, so that a restart after a change of addresses would fail.
type network struct {
	transport.Net
	std *stdnet.Net // nil when Net is of a test

	mu   sync.Mutex
	ifs  []*transport.Interface
	read time.Time
}

func newNetwork(other transport.Net) (*network, error) {
	if other != nil {
		return &network{Net: other}, nil
	}
	std, err := stdnet.NewNet()
	if err != nil {
		return nil, err
	}
	n := &network{Net: std, std: std, read: time.Now()}
	n.ifs, err = std.Interfaces()
	return n, err
}

// refresh reads the interfaces again if the list is older than age. When that fails the old list holds.
func (n *network) refresh(age time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.std == nil || age > 0 && time.Since(n.read) < age {
		return
	}
	if fresh, err := stdnet.NewNet(); err == nil {
		n.ifs, _ = fresh.Interfaces()
		n.read = time.Now()
	}
}

// Interfaces implements transport.Net.
func (n *network) Interfaces() ([]*transport.Interface, error) {
	if n.std == nil {
		return n.Net.Interfaces()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.ifs, nil
}

// InterfaceByIndex implements transport.Net.
func (n *network) InterfaceByIndex(index int) (*transport.Interface, error) {
	return n.find(func(i *transport.Interface) bool { return i.Index == index }, index)
}

// InterfaceByName implements transport.Net.
func (n *network) InterfaceByName(name string) (*transport.Interface, error) {
	return n.find(func(i *transport.Interface) bool { return i.Name == name }, name)
}

func (n *network) find(is func(*transport.Interface) bool, what any) (*transport.Interface, error) {
	all, err := n.Interfaces()
	if err != nil {
		return nil, err
	}
	for _, i := range all {
		if is(i) {
			return i, nil
		}
	}
	return nil, fmt.Errorf("%w: %v", transport.ErrInterfaceNotFound, what)
}
