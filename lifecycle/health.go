package lifecycle

import "fmt"

// Health is the light of a connection, a stream or a subject: what a person needs to know first.
type Health uint8

const (
	// Red: it does not work and nothing is being done about it, or nothing is known yet.
	Red Health = iota
	// Amber: it does not work fully now, and something is being done about it.
	Amber
	// Green: it works.
	Green
)

var healthWords = [...]string{"red", "amber", "green"}

// String returns "red", "amber" or "green".
func (h Health) String() string {
	if int(h) < len(healthWords) {
		return healthWords[h]
	}
	return fmt.Sprintf("Health(%d)", uint8(h))
}

// MarshalText returns the word of String.
func (h Health) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText takes one of the words of String.
func (h *Health) UnmarshalText(b []byte) (err error) {
	*h, err = ParseHealth(string(b))
	return err
}

// ParseHealth returns the light with the given word.
func ParseHealth(word string) (Health, error) {
	for i, w := range healthWords {
		if w == word {
			return Health(i), nil
		}
	}
	return Red, fmt.Errorf("lifecycle: light %q: want red, amber or green", word)
}
