package auth

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
)

// The parameters of new password hashes (RFC 9106, with OWASP's memory for servers that hash at each login), and the most that a file may ask for.
const (
	hashMemory  = 19 << 10 // KiB
	hashTime    = 2
	hashThreads = 1
	hashSize    = 32
	saltSize    = 16

	maxHashMemory = 1 << 20 // KiB
	maxHashTime   = 64
	// MaxHashing bounds the passwords that are looked at together, so that many logins at once do not take all memory.
	MaxHashing = 4
	// MaxPassword bounds a password, in bytes.
	MaxPassword = 1024
)

// passwordHash is an argon2id hash.
type passwordHash struct {
	memory, time uint32
	threads      uint8
	salt, sum    []byte
}

// HashPassword makes the text by which a file knows a password: argon2id in the PHC form.
func HashPassword(password string) string {
	h := passwordHash{memory: hashMemory, time: hashTime, threads: hashThreads, salt: make([]byte, saltSize)}
	rand.Read(h.salt)
	h.sum = h.of(password, hashSize)
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, h.memory, h.time, h.threads, b64.EncodeToString(h.salt), b64.EncodeToString(h.sum))
}

// parsePasswordHash reads what HashPassword wrote, or another program. Its errors do not show the text.
func parsePasswordHash(text string) (*passwordHash, error) {
	parts := strings.Split(text, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" {
		return nil, errors.New("want an argon2id hash, as \"hawser token password\" makes it")
	}
	var h passwordHash
	if parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return nil, fmt.Errorf("argon2id: want version %d", argon2.Version)
	}
	if n, err := fmt.Sscanf(parts[3]+"$", "m=%d,t=%d,p=%d$", &h.memory, &h.time, &h.threads); n != 3 || err != nil {
		return nil, errors.New("argon2id: want m=NUMBER,t=NUMBER,p=NUMBER")
	}
	if h.time < 1 || h.time > maxHashTime || h.threads < 1 || h.memory < 8*uint32(h.threads) || h.memory > maxHashMemory {
		return nil, fmt.Errorf("argon2id: want t of 1 to %d, p of 1 to 255, m of 8 times p to %d", maxHashTime, maxHashMemory)
	}
	var err, err2 error
	h.salt, err = base64.RawStdEncoding.DecodeString(parts[4])
	h.sum, err2 = base64.RawStdEncoding.DecodeString(parts[5])
	if err != nil || err2 != nil || len(h.salt) < 8 || len(h.sum) < 16 || len(h.sum) > 64 {
		return nil, errors.New("argon2id: want a salt of 8 bytes or more, and a hash of 16 to 64, in base64")
	}
	return &h, nil
}

func (h *passwordHash) of(password string, size uint32) []byte {
	return argon2.IDKey([]byte(password), h.salt, h.time, h.memory, h.threads, size)
}

func (h *passwordHash) equal(o *passwordHash) bool {
	return h.memory == o.memory && h.time == o.time && h.threads == o.threads && string(h.salt) == string(o.salt) && string(h.sum) == string(o.sum)
}

// nobody is looked at where there is no such user, so that the time of the answer does not tell.
var nobody = &passwordHash{memory: hashMemory, time: hashTime, threads: hashThreads, salt: make([]byte, saltSize), sum: make([]byte, hashSize)}

// hasher looks at passwords, a few at a time.
type hasher chan struct{}

func newHasher() hasher { return make(hasher, MaxHashing) }

// check says whether a password is the one of a hash; a nil hash takes as long and is never right.
func (x hasher) check(ctx context.Context, h *passwordHash, password string) (bool, error) {
	select {
	case x <- struct{}{}:
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
	defer func() { <-x }()
	known := h != nil
	if !known {
		h = nobody
	}
	same := subtle.ConstantTimeCompare(h.of(password, uint32(len(h.sum))), h.sum) == 1
	return same && known, nil
}
