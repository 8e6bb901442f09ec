//go:build linux

package main_test

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"time"

	seawall "github.com/seawall-wal/seawall/cmd/seawall"
	"github.com/seawall-wal/seawall/wal"
)

// slowWriter hands each write to the test, and waits until that has taken it.
type slowWriter chan string

func (w slowWriter) Write(p []byte) (int, error) {
	w <- string(p)
	return len(p), nil
}

// take returns the next line.
func (w slowWriter) take(t *testing.T) string {
	t.Helper()
	select {
	case line := <-w:
		return line
	case <-time.After(patience):
		t.Fatal("no line comes")
		return ""
	}
}

func TestAcksEvery(t *testing.T) {
	var b bytes.Buffer
	a := seawall.NewAcks(&b, true, 4)
	a.Note(6)
	a.Note(6)
	a.Note(8)
	if err := a.Close(nil); err != nil {
		t.Fatal(err)
	}
	if got, want := b.String(), "acked 5\nacked 6\nacked 7\nacked 8\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestAcksLate: where lines are taken slowly, one stands for all before it, and
// noting never waits.
func TestAcksLate(t *testing.T) {
	w := make(slowWriter)
	a := seawall.NewAcks(w, false, 0)
	a.Note(1)
	got := w.take(t) // the next is blocked in its write, or not begun
	for lsn := range 1000 {
		a.Note(wal.LSN(lsn + 1))
	}
	done := make(chan error, 1)
	go func() { done <- a.Close(nil) }()
	lines := 0
	for got != "acked 1000\n" {
		got = w.take(t)
		lines++
	}
	if err := <-done; err != nil || lines > 3 {
		t.Errorf("%d lines, error %v", lines, err)
	}
}

// TestAcksHurry: as long as acks are taken, however slowly, they are written.
func TestAcksHurry(t *testing.T) {
	w := make(slowWriter)
	a := seawall.NewAcks(w, true, 0)
	var lines []string
	late := make(chan time.Time, 1)
	a.SetLate(func() <-chan time.Time { // over whenever one line was taken
		lsn := a.Last()
		lines = append(lines, w.take(t))
		eventually(t, "the line is counted", func() bool { return a.Last() > lsn })
		if lsn < 9 {
			late <- time.Time{}
		}
		return late
	})
	a.Note(10)
	hurry := make(chan struct{})
	close(hurry)
	if err := a.Close(hurry); err != nil || len(lines) != 10 {
		t.Errorf("error %v after %q", err, lines)
	}
}

// TestAcksBlocked: acks that nobody takes do not hold up the end.
func TestAcksBlocked(t *testing.T) {
	w := make(slowWriter)
	a := seawall.NewAcks(w, true, 0)
	a.Note(10)
	w.take(t)
	eventually(t, "the line is counted", func() bool { return a.Last() == 1 })
	hurry := make(chan struct{})
	close(hurry)
	done := make(chan error, 1)
	go func() { done <- a.Close(hurry) }()
	select {
	case err := <-done:
		if !errors.Is(err, seawall.ErrAcksBlocked) || a.Last() != 1 {
			t.Errorf("error %v behind LSN %d", err, a.Last())
		}
	case <-time.After(patience):
		t.Error("it waits for a reader that is not there")
	}
}

func TestAcksFail(t *testing.T) {
	r, w := io.Pipe()
	_ = r.CloseWithError(io.ErrClosedPipe)
	a := seawall.NewAcks(w, false, 0)
	a.Note(1)
	select {
	case <-a.Dead():
	case <-time.After(patience):
		t.Fatal("nobody says that a write has failed")
	}
	if err := a.Close(nil); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("error %v", err)
	}
}
