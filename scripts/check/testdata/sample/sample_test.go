package sample

import "testing"

func FuzzSample(f *testing.F) {}

func (s s) FuzzMethod() {}
