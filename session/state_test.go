package session

import (
	"encoding/json"
	"slices"
	"testing"

	"hawser/lifecycle"
)

// contract is the table of states that the file must carry: name, light, what may follow.
var contract = map[string][]string{
	"Disconnected":               {"red", "connecting"},
	"Connecting":                 {"amber", "connected", "failed", "unreachable"},
	"Failed":                     {"amber", "connecting", "unreachable"},
	"Connected":                  {"amber", "retrieving_credentials", "logged_in", "lost"},
	"RetrievingCredentials":      {"amber", "credentials_retrieved", "credentials_retrieval_failed"},
	"CredentialsRetrieved":       {"amber", "logged_in", "reconnected", "login_failed", "lost"},
	"CredentialsRetrievalFailed": {"amber", "connecting", "disconnected"},
	"LoggedIn":                   {"green", "lost", "ejected", "paused", "unreachable", "disconnected"},
	"LoginFailed":                {"amber", "disconnected"},
	"Lost":                       {"amber", "connecting", "unreachable"},
	"Reconnected":                {"amber", "logged_in"},
	"Unreachable":                {"amber", "connecting"},
	"Paused":                     {"amber", "connecting", "logged_in"},
	"Ejected":                    {"amber", "disconnected"},
}

func TestStatesFollowTheContract(t *testing.T) {
	if len(stateTable) != 14 || len(contract) != 14 {
		t.Fatalf("%d states, want 14", len(stateTable))
	}
	for _, row := range stateTable {
		want := contract[row.Name]
		if got := append([]string{row.Light.String()}, row.Next...); !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", row.Name, got, want)
		}
	}
	for s, name := range map[State]string{Disconnected: "Disconnected", CredentialsRetrievalFailed: "CredentialsRetrievalFailed", LoggedIn: "LoggedIn",
		Lost: "Lost", Reconnected: "Reconnected", Ejected: "Ejected", Paused: "Paused", Unreachable: "Unreachable"} {
		if stateTable[s].Name != name {
			t.Errorf("row %d is %s, want %s", s, stateTable[s].Name, name)
		}
	}
}

func TestStateWords(t *testing.T) {
	for i := range stateTable {
		b, _ := json.Marshal(State(i))
		var s State
		if err := json.Unmarshal(b, &s); err != nil || s != State(i) {
			t.Errorf("%s: %v, %v", b, s, err)
		}
	}
	if LoggedIn.Light() != lifecycle.Green || Disconnected.Light() != lifecycle.Red || State(99).Light() != lifecycle.Red {
		t.Error("lights")
	}
	if State(99).String() != "State(99)" || State(99).May(Connecting) {
		t.Error("a stranger")
	}
}

func TestSetterRefusesWhatTheTableLacks(t *testing.T) {
	c := NewClient(ClientOptions{})
	if c.set(LoggedIn, lifecycle.Reason{}); c.State() != Disconnected || len(c.TakeEvents()) != 0 {
		t.Errorf("state is %s", c.State())
	}
	defer func() {
		if recover() == nil {
			t.Error("a strict machine did not panic")
		}
	}()
	NewClient(ClientOptions{Strict: true}).set(LoggedIn, lifecycle.Reason{})
}
