package session

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"

	"hawser/lifecycle"
)

// State is the state of a session client. What is true in each, which light it has and what may follow it stands in states.json, the one table for the Go and
// the JavaScript client. An application should look at the light first: the order of states is not a strict contract.
type State uint8

const (
	// Disconnected: nothing is attempted; all subscriptions are removed; only Connect leaves it. Red.
	Disconnected State = iota
	// Connecting: an attempt at one server is in progress. Connected, Failed or Unreachable follows.
	Connecting
	// Failed: an attempt failed. Connecting follows after a back-off.
	Failed
	// Connected: the network connection stands; the login follows.
	Connected
	// RetrievingCredentials: the credentials provider has been asked.
	RetrievingCredentials
	// CredentialsRetrieved: the provider answered; the server is asked.
	CredentialsRetrieved
	// CredentialsRetrievalFailed: the provider failed. Connecting or Disconnected follows.
	CredentialsRetrievalFailed
	// LoggedIn: updates and answers can arrive. The only green state.
	LoggedIn
	// LoginFailed: the server refused the login. Disconnected follows, and no further attempt.
	LoginFailed
	// Lost: the connection broke; attempts follow.
	Lost
	// Reconnected: the same session was resumed and everything held. LoggedIn follows at once.
	Reconnected
	// Unreachable: the machine has no network at all.
	Unreachable
	// Paused: frozen by the application; nothing is delivered.
	Paused
	// Ejected: the server threw this client out, with a reason. Disconnected follows, and no further attempt.
	Ejected
)

//go:embed states.json
var statesJSON []byte

// stateRow is a row of states.json.
type stateRow struct {
	Name  string           `json:"name"`
	Word  string           `json:"word"`
	Light lifecycle.Health `json:"light"`
	Next  []string         `json:"next"`
	Also  []string         `json:"also"`
	While string           `json:"while"`
}

// stateTable holds the rows, at the places of the constants, and what may follow each.
var stateTable, stateNext = loadStates()

func loadStates() (rows []stateRow, next [][]State) {
	var file struct {
		States []stateRow `json:"states"`
	}
	if err := json.Unmarshal(statesJSON, &file); err != nil {
		panic("session: states.json: " + err.Error())
	}
	next = make([][]State, len(file.States))
	for i, row := range file.States {
		for _, w := range slices.Concat(row.Next, row.Also) {
			to := slices.IndexFunc(file.States, func(r stateRow) bool { return r.Word == w })
			if to < 0 {
				panic(fmt.Sprintf("session: states.json: %s: unknown successor %q", row.Word, w))
			}
			next[i] = append(next[i], State(to))
		}
	}
	return file.States, next
}

// String returns the state's word, for example "logged_in".
func (s State) String() string {
	if int(s) < len(stateTable) {
		return stateTable[s].Word
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// MarshalText returns the word of String.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText takes one of the words of String.
func (s *State) UnmarshalText(b []byte) error {
	for i, row := range stateTable {
		if row.Word == string(b) {
			*s = State(i)
			return nil
		}
	}
	return fmt.Errorf("session: unknown state %q", b)
}

// Light returns the state's light: red for Disconnected, green for LoggedIn, amber for all others.
func (s State) Light() lifecycle.Health {
	if int(s) < len(stateTable) {
		return stateTable[s].Light
	}
	return lifecycle.Red
}

// May says whether next may follow s.
func (s State) May(next State) bool {
	return int(s) < len(stateNext) && slices.Contains(stateNext[s], next)
}
