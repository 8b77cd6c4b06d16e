package netio

// Handler is told when something arrives on a watched connection.
type Handler interface {
	// Turn is called when bytes, an end or an error may be there to be read, and after Wake; at first it may be called for nothing. One call of a Watch's handler is in progress at a time. It may
	// block: other connections go on, a millisecond or two later.
	Turn(t *Turn)
}
